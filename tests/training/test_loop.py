"""fit alone, on a model of one number: when it does what, and what an interrupt leaves."""

from __future__ import annotations

import copy
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxbert.data.batch_source import BatchSource
from jaxbert.data.features import Features
from jaxbert.data.sampling import BucketSampler
from jaxbert.errors import InputError
from jaxbert.training.events import Evaluated, Event, Logged, Saved, Started
from jaxbert.training.loop import Nowhere, Program, fit
from jaxbert.training.parallel import Backend, make_parallel
from jaxbert.training.progress import Plan, Progress
from jaxbert.training.step import TrainState, init_state, make_train_step

WINDOWS, SIZE, TOTAL = 12, 4, 8
FOLDER = Path("run/checkpoints")
TX = optax.sgd(0.1)


def source() -> BatchSource:
    features = Features(
        bounds=np.arange(WINDOWS + 1),
        tokens={"input_ids": np.arange(WINDOWS, dtype=np.int32)},
        rows={"x": np.linspace(-1, 1, WINDOWS, dtype=np.float32)},
        example=np.arange(WINDOWS, dtype=np.int32),
    )
    return BatchSource(features, BucketSampler(features.lengths, SIZE, 3, (1,)))


def apply(params: Any, batch: Any, **given: Any) -> Any:
    return {"y": params["w"] * batch["x"]}


def loss(outputs: Any, batch: Any) -> tuple[jax.Array, jax.Array]:
    return jnp.sum((outputs["y"] - 2 * batch["x"]) ** 2 * batch["weight"]), batch["weight"].sum()


def plan(**given: Any) -> Plan:
    fields = {"log_every": 1, "eval_every": 4, "save_every": 3, "patience": None, "max_skipped": 2}
    return Plan(TOTAL, metrics=("f1",), **(fields | given))


class Memory:
    """A Storage that keeps all in memory, as it is when it is handed over."""

    def __init__(self) -> None:
        self.saved: dict[int, tuple[TrainState, Progress]] = {}
        self.lines: list[dict[str, float | None]] = []
        self.waited = 0

    def save(self, state: TrainState, progress: Progress) -> Path:
        self.saved[int(state.step)] = (state, copy.deepcopy(progress))
        return FOLDER

    def wait(self) -> None:
        self.waited += 1

    def log(self, record: Mapping[str, float | None]) -> None:
        self.lines.append(dict(record))


def run(
    *,
    start: tuple[TrainState, Progress] | None = None,
    backend: Backend = "jit",
    devices: int = 1,
    loss: Callable[..., Any] = loss,
    storage: Any = None,
    **given: Any,
) -> tuple[TrainState, bool]:
    parallel = make_parallel(backend, jax.local_devices()[:devices])
    step = make_train_step(apply, loss, TX, axis_name=parallel.axis_name, mesh=parallel.mesh)
    program = Program(
        parallel.compile_train(step), jax.random.key(0), lambda step: np.float32(0.1), parallel
    )
    if start is None:
        start = jax.device_get(init_state({"w": np.float32(0)}, TX)), Progress()
    given.setdefault("plan", plan())
    return fit(*start, source(), program, storage=storage or Nowhere(), **given)


def expected(steps: int) -> float:
    """w after so many steps: by hand, w <- w - 0.1 mean(2 x (w x - 2 x))."""
    batches, w = source(), 0.0
    for step in range(steps):
        x = batches.batch(step)["x"][0].astype(float)
        w -= 0.1 * np.mean(2 * x * (w - 2) * x)
    return w


@pytest.mark.parametrize(("backend", "devices"), [("jit", 1), ("jit", 2), ("pmap", 2)])
def test_it_trains_without_a_folder(backend: Backend, devices: int) -> None:
    state, done = run(backend=backend, devices=devices)
    assert (done, int(state.step)) == (True, TOTAL)
    assert float(state.params["w"]) == pytest.approx(expected(TOTAL), rel=1e-5)


def test_events_come_in_order_and_a_step_is_saved_before_it_is_evaluated() -> None:
    storage, events = Memory(), []
    progress = Progress()
    start = jax.device_get(init_state({"w": np.float32(0)}, TX)), progress
    run(
        start=start,
        storage=storage,
        notify=events.append,
        evaluate=lambda params, step, stopped: {"f1": step / 10},
    )
    assert events[0] == Started(0, TOTAL)
    assert [e.step for e in events if isinstance(e, Logged)] == list(range(1, TOTAL + 1))
    others = [e for e in events[1:] if not isinstance(e, Logged)]
    assert others == [
        Saved(3, FOLDER),
        Saved(4, FOLDER),
        Evaluated(4, {"f1": 0.4}),
        Saved(6, FOLDER),
        Saved(8, FOLDER),
        Evaluated(8, {"f1": 0.8}),
    ]
    for saved in (e for e in others if isinstance(e, Saved)):  # the log has all of its steps
        assert sum(isinstance(e, Logged) for e in events[: events.index(saved)]) == saved.step
    assert storage.lines == [e.values for e in events if isinstance(e, Logged)]
    assert [line["epoch"] for line in storage.lines[:3]] == [0.3333, 0.6667, 1.0]
    assert (progress.best_step, progress.best_score) == (8, 0.8)
    assert storage.waited == 1


def test_patience_ends_the_run_after_the_evaluation() -> None:
    storage = Memory()
    state, done = run(
        storage=storage,
        plan=plan(eval_every=2, patience=1),
        evaluate=lambda params, step, stopped: {"f1": 0.5},
    )
    assert (done, int(state.step), sorted(storage.saved)) == (True, 4, [2, 3, 4])


def interrupting(step: int, number: signal.Signals) -> Callable[[Event], None]:
    def notify(event: Event) -> None:
        if isinstance(event, Logged) and event.step == step:
            os.kill(os.getpid(), number)
            time.sleep(0.3)  # a thread reads the signal's number

    return notify


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_returns_and_the_run_can_be_resumed(number: signal.Signals) -> None:
    """Ctrl-C in a notebook's cell too, where it would raise KeyboardInterrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        storage = Memory()
        state, done = run(storage=storage, notify=interrupting(2, number))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not done
    assert 2 < int(state.step) < TOTAL
    assert int(state.step) in storage.saved
    whole, _ = run()
    resumed, done = run(start=storage.saved[int(state.step)])
    assert done
    assert jax.tree.leaves(resumed)[0].tobytes() == jax.tree.leaves(whole)[0].tobytes()
    assert resumed.params["w"].tobytes() == whole.params["w"].tobytes()


def test_it_runs_in_another_thread() -> None:
    found: list[tuple[TrainState, bool]] = []
    thread = threading.Thread(target=lambda: found.append(run()))
    thread.start()
    thread.join()
    assert found[0][1]


def test_steps_that_are_not_finite_are_named_by_their_examples() -> None:
    def nan(outputs: Any, batch: Any) -> tuple[jax.Array, jax.Array]:
        total, weight = loss(outputs, batch)
        return total * jnp.nan, weight

    storage = Memory()
    with pytest.raises(InputError, match=r"not finite at 2 steps in a row, 1, 2, .*number \d"):
        run(loss=nan, storage=storage)
    assert storage.waited == 1
    assert [line["loss"] for line in storage.lines] == [None]


def test_the_bar_goes_to_standard_error_where_messages_are_shown(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="jaxbert"):
        run()
    assert capsys.readouterr() == ("", "")
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        run()
    said = capsys.readouterr()
    assert f"{TOTAL}/{TOTAL}" in said.err
    assert "loss 0." in said.err
    assert not said.out
