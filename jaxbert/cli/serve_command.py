"""Serve fine-tuned folders: a page to ask in, and an HTTP API (extra `serve`).

jaxbert serve runs/squad
jaxbert serve runs/squad runs/squad_large runs/ner --port 8080

Only this machine reaches it, unless --host says otherwise; others then need a token.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import re
import secrets
from collections.abc import Sequence

from jaxbert.cli import command_line
from jaxbert.errors import InputError
from jaxbert.options.fields import Settings, option
from jaxbert.runtime.compiled import keep_compiled

_PACKAGES = ("fastapi", "jinja2", "prometheus_client", "uvicorn")


@dataclasses.dataclass(frozen=True)
class ServeOptions(Settings):
    """Flags of the command."""

    model_name_or_path: list[str] | None = option(
        None, "Folders of runs, or Hub names; the same as the words before all flags.", address=True
    )
    host: str = option("127.0.0.1", "The address to listen on; 0.0.0.0 is all of this machine's.")
    port: int = option(8000, "The port; 0 is any that is free.", range=(0, 65535))
    token: str | None = option(
        None,
        "What requests have to show: 16 or more letters, digits, - and _; by default one is made "
        "and printed where --host is not this machine alone.",
    )
    max_batch: int = option(16, "The most requests that are computed at once.", range=(1, 1024))
    max_queue: int = option(256, "The most requests that wait; others get 503.", range=(1, 100_000))
    max_request_bytes: int = option(
        100_000, "The largest request; others get 413.", range=(100, 100_000_000)
    )
    timeout: float = option(
        30.0,
        "Seconds for a request to come, and then for its answer; others get 408.",
        range=(0.1, 3600),
    )
    compilation_cache_dir: str | None = option(
        None,
        "A private folder for compiled programs: a second start compiles hardly anything.",
        path=True,
    )
    debug: bool = option(False, "Show the traceback of an error.")


def run(words: Sequence[str]) -> None:
    """Serve until a signal."""
    flags = [*words]
    if words and not words[0].endswith(".json"):  # a file of options
        places = [*itertools.takewhile(lambda word: not word.startswith("-"), words)]
        flags = ["--model_name_or_path"] * bool(places) + flags
    options = command_line.parse(ServeOptions, flags, prog="jaxbert serve", description=__doc__)
    if not options.model_name_or_path:
        raise InputError("give the folder of a fine-tuned model: jaxbert serve runs/squad")
    for name in _PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise InputError(f'{name} is not installed; pip install "jaxbert[serve]"')
    if options.token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,}", options.token):
        raise InputError(
            "--token: give 16 or more letters, digits, - and _, or leave it out and one is made"
        )

    from jaxbert.serve.guards import Limits, is_loopback
    from jaxbert.serve.served_models import open_models
    from jaxbert.serve.server import listen, serve

    token = options.token
    if token is None and not is_loopback(options.host):
        token = secrets.token_urlsafe(24)
    if options.compilation_cache_dir:
        keep_compiled(options.compilation_cache_dir)
    with listen(options.host, options.port) as listening:
        models = open_models(options.model_name_or_path, options.max_batch)
        for model in models.values():
            print(f"{model.name} ({model.task}): {model.place}", flush=True)
        limits = Limits(options.max_request_bytes, options.timeout, token, options.host)
        serve(
            models,
            listening,
            limits,
            max_queue=options.max_queue,
            max_batch=options.max_batch,
        )
