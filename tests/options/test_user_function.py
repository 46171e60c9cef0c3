"""What is recorded of a function of a Python program, and what a resumed run is refused for."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.errors import InputError
from jaxbert.losses.choose import choose_loss
from jaxbert.options.user_function import changed_value, user_function
from jaxbert.tasks.registry import TASKS

GAMMA = 2.0
weight = 7.0  # an attribute of that name is no use of it


def helper(x: Any) -> Any:
    return x * GAMMA


def make(scale: Any) -> Any:
    def my_loss(outputs: Any, batch: Any, alpha: float = 1.5) -> Any:
        values = [helper(x) for x in outputs]
        return jnp.sum(jnp.stack(values)) * scale * alpha * batch.weight

    return my_loss


def values_of(function: Any) -> dict[str, str]:
    return user_function(function, "--loss").values


def test_defaults_closures_globals_and_helpers_are_recorded() -> None:
    found = user_function(make(3), "--loss")
    assert found.name == "function my_loss"
    assert found.source.startswith("def my_loss(outputs: Any, batch: Any, alpha: float = 1.5)")
    assert found.values == {
        "default alpha": "1.5",
        "closure scale": "3",
        "global helper": "function def helper(x: Any) -> Any:\n    return x * GAMMA",
        "global helper global GAMMA": "2.0",
        "global jnp": "module jax.numpy",
    }


def test_what_changes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before = values_of(make(3))
    assert changed_value(before, values_of(make(3))) is None
    assert changed_value(before, values_of(make(4))) == "closure scale was 3 and is 4"
    monkeypatch.setitem(globals(), "GAMMA", 2.5)
    what = changed_value(before, values_of(make(3)))
    assert what == "global helper global GAMMA was 2.0 and is 2.5"


@pytest.mark.parametrize("kind", [np.array, jnp.array])
def test_arrays_are_recorded_by_their_bytes(kind: Any) -> None:
    one, equal = values_of(make(kind([1.0, 2.0]))), values_of(make(kind([1.0, 2.0])))
    assert one == equal
    assert "array float" in one["closure scale"]
    assert one != values_of(make(kind([1.0, 2.5])))
    assert one != values_of(make(kind([[1.0, 2.0]])))


def test_a_lambda_is_recorded_without_the_statement_around_it() -> None:
    made = {"rate": 1, "loss": lambda outputs, batch: outputs["a"], "other": lambda x: x}
    assert user_function(made["loss"], "--loss").source == 'lambda outputs, batch: outputs["a"]'
    assert user_function(made["other"], "--loss").source == "lambda x: x"


def test_partials_objects_and_compiled_functions_are_recorded() -> None:
    assert values_of(functools.partial(make(1), alpha=2))["partial alpha"] == "2"
    assert values_of(jax.jit(make(1))) == values_of(make(1))

    class Weighted:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        def __call__(self, outputs: Any, batch: Any) -> Any:
            return outputs["a"] * self.scale

    assert values_of(Weighted(1.0)) != values_of(Weighted(2.0))


def test_a_function_may_use_itself() -> None:
    def again(outputs: Any, batch: Any) -> Any:
        return again(outputs, batch)

    assert values_of(again) == {"closure again": "the function itself again"}


@pytest.mark.integration
def test_the_record_is_the_same_in_every_process() -> None:
    """Sets are in another order there."""
    program = (
        "from test_user_function import make, values_of\n"
        "print(values_of(make(frozenset({'a', 'b', 'c', 'd'}))))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(found) == 1


def test_what_cannot_be_recorded_is_refused() -> None:
    with pytest.raises(InputError, match="depends on closure scale, a Generator, of which nothing"):
        values_of(make(np.random.default_rng(0)))
    typed: dict[str, Any] = {}
    exec("def typed(outputs, batch): return 1", typed)
    with pytest.raises(InputError, match="the source of typed cannot be found"):
        values_of(typed["typed"])


def test_options_of_a_function_are_those_of_a_file() -> None:
    task = TASKS["qa"]
    losses = (task[0] if isinstance(task, tuple) else task).losses
    chosen = choose_loss(losses, "", '{"alpha": 2.0}', user_function(make(1), "--loss"))
    assert chosen.name == "function my_loss"
    assert chosen.user_defined
    with pytest.raises(InputError, match="--loss_args beta: the options of function my_loss are"):
        choose_loss(losses, "", '{"beta": 2.0}', user_function(make(1), "--loss"))
