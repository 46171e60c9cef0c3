"""--profile_steps: which steps a trace has, and what opens it."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxbert.errors import InputError
from jaxbert.training.step import TrainState
from jaxbert.training.traced_steps import TracedSteps, steps_of


def test_the_steps_of_a_text() -> None:
    assert steps_of("10:15") == range(10, 16)
    assert list(steps_of("3:3")) == [3]
    for wrong in ("15:10", "0:3", "10", "10:", "a:b", "1:2:3", "-1:2", "１:２"):
        with pytest.raises(InputError, match=r"--profile_steps .*: give the first and the last"):
            steps_of(wrong)


def state(step: int) -> TrainState:
    return TrainState(jnp.int32(step), {"w": jnp.ones(3)}, ())


@jax.jit
def step(state: TrainState, batch: Any, key: Any) -> Any:
    return state._replace(step=state.step + 1), {"loss": jnp.sum(state.params["w"] * batch["x"])}


def run(folder: Path, steps: range, *, begin: int = 0, end: int = 6) -> None:
    at = state(begin)
    with contextlib.closing(TracedSteps(step, steps, folder)) as traced:
        for _ in range(begin, end):
            at, _ = traced(at, {"x": jnp.ones(3)}, jax.random.key(0))
    assert int(at.step) == end


def traced_steps(folder: Path) -> set[int]:
    """The numbers of the steps that a trace names."""
    [perfetto] = folder.rglob("perfetto_trace.json.gz")
    assert len(list(folder.rglob("*.xplane.pb"))) == 1  # XProf's and TensorBoard's
    events = json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
    return {
        int(event["args"]["step_num"])
        for event in events
        if event.get("name") == "train" and "step_num" in event.get("args", {})
    }


@pytest.mark.integration
def test_a_trace_has_its_steps(tmp_path: Path) -> None:
    run(tmp_path / "a", range(2, 4))
    assert traced_steps(tmp_path / "a") == {2, 3}


@pytest.mark.integration
def test_of_a_run_that_resumes_within_them_the_rest(tmp_path: Path) -> None:
    run(tmp_path / "a", range(2, 6), begin=3)
    assert traced_steps(tmp_path / "a") == {4, 5}


def test_without_its_steps_a_run_leaves_no_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "jaxbert"):
        run(tmp_path / "a", range(0))
    assert not caplog.messages
    run(tmp_path / "a", range(2, 4), begin=4)
    run(tmp_path / "a", range(8, 10))
    assert caplog.messages == [
        "no trace: none of the steps 2 to 3 ran",
        "no trace: none of the steps 8 to 9 ran",
    ]
    assert not (tmp_path / "a").exists()
