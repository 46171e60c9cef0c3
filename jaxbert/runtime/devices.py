"""How JAX starts its devices: what it warns of, and why it has none, each in one line."""

from __future__ import annotations

import logging
import os
import sys

import jax
from tqdm import tqdm

# Where JAX starts its devices; it has no other loggers under this name.
_START = "jax._src.xla_bridge"
# Its functions there that warn of a device which JAX cannot use.
_UNUSED = ("_suggest_missing_backends", "discover_pjrt_plugins")
_INSTALL = {"cuda": 'pip install -e ".[cuda]"', "tpu": 'pip install -e ".[tpu]"'}
# What a user may write for one of them into JAX_PLATFORMS.
_ALIASES = {"gpu": "cuda"}


class _OneLine(logging.Handler):
    """JAX's warnings of a device that it cannot use, on standard error with what to do."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        parts = [record.getMessage(), str(error) if error else ""]
        line = " ".join(" ".join(parts).split()).rstrip(".")
        if record.funcName in _UNUSED:
            line += (
                f"; for an NVIDIA GPU {_INSTALL['cuda']}, for a TPU {_INSTALL['tpu']}, or set "
                "JAX_PLATFORMS=cpu to compute on the CPU without this line"
            )
        tqdm.write(f"warning: {line}", file=sys.stderr)


def show_warnings() -> None:
    """Show what JAX warns of as it starts its devices, and only errors of all its other parts."""
    logging.getLogger("jax").setLevel(logging.ERROR)
    start = logging.getLogger(_START)
    start.setLevel(logging.WARNING)
    start.propagate = False
    if not any(isinstance(handler, _OneLine) for handler in start.handlers):
        start.addHandler(_OneLine())


def fault() -> str | None:
    """Why JAX has no device to compute on, and what to do; None if it has one."""
    try:
        jax.local_devices()
    except (AssertionError, RuntimeError) as error:  # the first for a GPU that is not there
        chosen = os.environ.get("JAX_PLATFORMS")
        reason = " ".join(str(error).split()).rstrip(".") or "there is no such device"
        if not chosen:
            return f"JAX cannot start its devices: {reason}"
        names = [_ALIASES.get(name, name) for name in chosen.split(",")]
        installs = [_INSTALL[name] for name in names if name in _INSTALL]
        advice = f"install JAX for it ({', '.join(installs)})" if installs else "check the name"
        return f"JAX_PLATFORMS={chosen}: {reason}; {advice}, or unset JAX_PLATFORMS"
    return None
