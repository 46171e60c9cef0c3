"""Callbacks of users: what they do wrong ends nothing and changes nothing."""

from __future__ import annotations

import logging

import pytest

from jaxbert.callbacks.guarded_callbacks import GuardedCallbacks
from jaxbert.training.events import Evaluated, Event, Logged


def test_a_callback_changes_neither_the_run_nor_what_the_next_is_told() -> None:
    told: list[Event] = []

    def spoil(event: Event) -> None:
        if isinstance(event, Evaluated):
            event.scores.clear()
        if isinstance(event, Logged):
            assert isinstance(event.values, dict)
            event.values["loss"] = -1.0

    scores = {"accuracy": 0.5}
    values: dict[str, float | None] = {"loss": 2.0}
    notify = GuardedCallbacks([spoil, told.append])
    notify(Evaluated(3, scores))
    notify(Logged(3, values))
    assert told == [Evaluated(3, {"accuracy": 0.5}), Logged(3, {"loss": 2.0})]
    assert (scores, values) == ({"accuracy": 0.5}, {"loss": 2.0})


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise TypeError("no text")


def test_an_error_without_a_text_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Event) -> None:
        raise _UnprintableError

    told: list[Event] = []
    with caplog.at_level(logging.WARNING, "jaxbert"):
        GuardedCallbacks([fail, told.append])(Evaluated(1, {}))
    [record] = caplog.records
    assert record.getMessage().startswith(
        "the callback fail failed at Evaluated: _UnprintableError: its text cannot be shown; "
    )
    assert told == [Evaluated(1, {})]
