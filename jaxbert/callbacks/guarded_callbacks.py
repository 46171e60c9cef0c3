"""Callbacks, called one after another; what one of them raises is reported and ends nothing."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence

from jaxbert.errors import InputError
from jaxbert.training.events import Event, Notify

logger = logging.getLogger("jaxbert")


def check_callbacks(callbacks: Sequence[Notify]) -> None:
    """Raise InputError for what cannot be called."""
    if not isinstance(callbacks, list | tuple):
        kind = type(callbacks).__name__
        raise InputError(f"callbacks (of type {kind}): give a list of functions of an event")
    for callback in callbacks:
        if not callable(callback):
            raise InputError(
                f"callbacks: {callback!r} cannot be called; give functions of an event"
            )


class GuardedCallbacks:
    """Calls each callback with every event, in their order, and with a copy of its own: what it
    does to that changes neither the run nor what the next one is told.

    The first error of a callback is a warning with its name. It is still called with what follows:
    a server may be back by then.
    """

    def __init__(self, callbacks: Sequence[Notify]) -> None:
        self._callbacks = tuple(callbacks)
        self._failed: set[int] = set()

    def __call__(self, event: Event) -> None:
        for number, callback in enumerate(self._callbacks):
            try:
                callback(copy.deepcopy(event))
            except Exception as error:
                if number not in self._failed:
                    said = _first_line(error)
                    kind, what = type(error).__name__, type(event).__name__
                    logger.warning(
                        "the callback %s failed at %s: %s: %s; the run continues, and further "
                        "errors of this callback are not reported",
                        _name(callback),
                        what,
                        kind,
                        said,
                    )
                self._failed.add(number)


def _first_line(error: Exception) -> str:
    try:
        return (str(error).strip().splitlines() or [""])[0]
    except Exception:  # an error whose text fails, too, ends no run
        return "its text cannot be shown"


def _name(callback: Notify) -> str:
    name: str = getattr(callback, "__qualname__", type(callback).__name__)
    return name.rpartition("<locals>.")[2]
