"""A cloud's notice that this machine is about to be taken, passed on as SIGTERM.

Google tells by `instance/preempted` and `instance/maintenance-event` of its metadata (Compute
Engine, "Get live migration notices"); Amazon by `spot/instance-action`, two minutes before (EC2,
"Spot instance interruption notices").
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from jaxbert.runtime.signal_listener import taken

_EVERY = 5.0  # seconds between two looks
_GOOGLE = "metadata.google.internal"
_AMAZON = "http://169.254.169.254"


def watch(every: float = _EVERY) -> None:
    """Start to watch, in a thread of its own, where this is a cloud's machine; else do nothing."""
    ask = _asker()
    if ask is not None:
        threading.Thread(target=_watch, args=(ask, every), daemon=True).start()


def is_announced() -> bool:
    """Whether this machine's cloud says now that it takes it; false where there is no cloud."""
    ask = _asker()
    try:
        return ask is not None and bool(ask())
    except OSError:
        return False


def _asker() -> Callable[[], str] | None:
    """What asks this machine's cloud for a notice; None where there is no cloud that is known.

    The variables are those of the clouds' own libraries.
    """
    if host := os.environ.get("GCE_METADATA_HOST") or (_is("Google") and _GOOGLE):
        return lambda: _of_google(host)
    place = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or (_is("Amazon") and _AMAZON)
    if place and os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true":
        return lambda: _of_amazon(place.rstrip("/"))
    return None


def _is(maker: str) -> bool:
    """Whether the machine says that it is of that maker."""
    try:
        return maker in Path("/sys/class/dmi/id/sys_vendor").read_text(encoding="utf-8")
    except OSError:
        return False


def _of_google(host: str) -> str:
    def ask(name: str) -> str:
        url = f"http://{host}/computeMetadata/v1/instance/{name}"
        return _get(urllib.request.Request(url, headers={"Metadata-Flavor": "Google"}))

    if ask("preempted") == "TRUE":
        return "preempted"
    event = ask("maintenance-event")  # a live migration needs nothing
    return event if event.startswith("TERMINATE") else ""


def _of_amazon(place: str) -> str:
    token = _get(
        urllib.request.Request(
            f"{place}/latest/api/token",
            method="PUT",
            headers={"X-aws-ec2-metadata-token-ttl-seconds": "300"},
        )
    )
    headers = {"X-aws-ec2-metadata-token": token}
    return _get(
        urllib.request.Request(f"{place}/latest/meta-data/spot/instance-action", headers=headers)
    )


def _get(request: urllib.request.Request) -> str:
    """The answer's text; "" where there is no such thing."""
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            text: str = answer.read().decode().strip()
            return text
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return ""
        raise


def _watch(ask: Callable[[], str], every: float) -> None:
    while True:
        try:
            notice = ask()
        except OSError:  # a server that is away comes back, or tells nothing
            notice = ""
        if notice:
            taken.set()
            os.kill(os.getpid(), signal.SIGTERM)
            with contextlib.suppress(OSError):  # after the signal, since its reader may have paused
                os.write(2, f"the cloud takes this machine: {notice}\n".encode())
            return
        time.sleep(every)
