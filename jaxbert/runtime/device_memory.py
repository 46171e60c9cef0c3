"""A device whose memory runs out, told in one line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import jax

from jaxbert.errors import InputError

# "Out of memory allocating 1099511627776 bytes", "Used 20.74G of 15.75G hbm"
_WANTED = re.compile(r"(?:allocat\w+|Used) ([\d.]+ ?(?:bytes|[KMGT](?:iB)?))")


@contextlib.contextmanager
def memory_is_told(doing: str, advice: str) -> Iterator[None]:
    """Turn JAX's error of a device without memory into one line.

    Args:
        doing: what ran out of it: "training".
        advice: what takes less.

    Raises:
        InputError: instead of that error.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        wanted = _WANTED.search(str(error))
        how_much = f" ({wanted[1]} were wanted)" if wanted else ""
        raise InputError(f"{doing}: the device's memory ran out{how_much}; {advice}") from None
