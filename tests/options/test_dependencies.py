"""What a function of a Python program depends on: a change of it is a change of the record."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import functools
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxbert.errors import InputError
from jaxbert.options.user_function import changed_value, user_function

Loss = Callable[[Any, Any], Any]
FACTOR = 1.0


def plain(outputs: Any, batch: Any) -> Any:
    return outputs["logits"].sum()


def other(outputs: Any, batch: Any) -> Any:
    return outputs["logits"].mean()


def scaled(by: float) -> Callable[[Loss], Loss]:
    def decorate(function: Loss) -> Loss:
        @functools.wraps(function)
        def wrapped(outputs: Any, batch: Any) -> Any:
            return by * function(outputs, batch)

        return wrapped

    return decorate


def doubled(function: Loss) -> Loss:
    @functools.wraps(function)
    def wrapped(outputs: Any, batch: Any) -> Any:
        return 2 * function(outputs, batch)

    return wrapped


def halved(function: Loss) -> Loss:
    @functools.wraps(function)
    def wrapped(outputs: Any, batch: Any) -> Any:
        return function(outputs, batch) / 2

    return wrapped


def using(value: Any) -> Loss:
    def loss(outputs: Any, batch: Any) -> Any:
        return value(outputs, batch)

    return loss


def by_hand(backward: Callable[..., Any]) -> Loss:
    @jax.custom_vjp
    def loss(outputs: Any, batch: Any) -> Any:
        return outputs

    loss.defvjp(plain, backward)
    return using(loss)


def two(x: Any, y: Any) -> Any:
    return x * x * y


class Focal:
    """An object with a method, as a module of a notebook has."""

    gamma = 2.0

    def __call__(self, outputs: Any, batch: Any) -> Any:
        return self.part(outputs) * FACTOR

    def part(self, outputs: Any) -> Any:
        return outputs["logits"] ** self.gamma


def class_with(**members: Any) -> type[Focal]:
    """Two classes of the same text, one of whose members is set later."""

    class Named(Focal):
        pass

    for name, member in members.items():
        setattr(Named, name, member)
    return Named


def squared(self: Any, outputs: Any) -> Any:
    return outputs["logits"] ** 2


def cubed(self: Any, outputs: Any) -> Any:
    return outputs["logits"] ** 3


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    rate: float

    def __call__(self, outputs: Any, batch: Any) -> Any:
        return self.rate


class Pair(NamedTuple):
    first: float
    second: float


class Mode(enum.Enum):
    SUM = "sum"
    MEAN = "mean"


def object_of(members: dict[str, Any]) -> Loss:
    return using(class_with(**members)())


CHANGES: dict[str, tuple[Callable[..., Loss], Any, Any]] = {
    "argument of a decorator": (lambda by: scaled(by)(plain), 2.0, 3.0),
    "argument of the outer of two": (lambda by: scaled(by)(scaled(2.0)(plain)), 2.0, 3.0),
    "argument of the inner of two": (lambda by: scaled(2.0)(scaled(by)(plain)), 2.0, 3.0),
    "text of a decorator": (lambda wrap: wrap(plain), doubled, halved),
    "one that is decorated": (doubled, plain, other),
    "one that is compiled": (jax.jit, plain, other),
    "a decorator under jit": (lambda by: jax.jit(scaled(by)(plain)), 2.0, 3.0),
    "a partial of a partial decorated": (
        lambda by: functools.partial(doubled(functools.partial(plain, by)), 1),
        2.0,
        3.0,
    ),
    "argnums of grad": (lambda n: using(jax.grad(two, argnums=n)), 0, 1),
    "has_aux of value_and_grad": (
        lambda aux: using(jax.value_and_grad(two, has_aux=aux)),
        True,
        False,
    ),
    "in_axes of vmap": (lambda axes: using(jax.vmap(two, in_axes=axes)), (0, None), (None, 0)),
    "a function under grad": (lambda f: using(jax.grad(f)), plain, other),
    "backward of custom_vjp": (by_hand, plain, other),
    "argument of a schedule": (
        lambda end: using(optax.linear_schedule(1.0, end, 10)),
        0.0,
        0.5,
    ),
    "a table of a library's function": (
        lambda at: using(optax.piecewise_constant_schedule(1.0, {at: 0.1})),
        10,
        20,
    ),
    "an attribute set on a class": (lambda g: object_of({"gamma": g}), 2.0, 3.0),
    "a class that is used": (lambda g: using(class_with(gamma=g)), 2.0, 3.0),
    "a method of an object": (lambda f: object_of({"part": f}), squared, cubed),
    "a method of self": (lambda f: class_with(part=f)(), squared, cubed),
    "a static method": (lambda f: object_of({"part": staticmethod(f)}), squared, cubed),
    "a class method": (lambda f: object_of({"part": classmethod(f)}), squared, cubed),
    "a property": (
        lambda f: object_of({"part": property(f)}),
        lambda self: self.gamma,
        lambda self: self.gamma + 1,
    ),
    "a bound method": (lambda g: class_with(gamma=g)().part, 2.0, 3.0),
    "slots": (lambda rate: using(Slotted(rate)), 1.0, 2.0),
    "an object with slots itself": (Slotted, 1.0, 2.0),
    "a named tuple": (lambda x: using(Pair(x, 1.0)), 1.0, 2.0),
    "a member of an enum": (using, Mode.SUM, Mode.MEAN),
    "a pattern": (using, re.compile("a" * 300 + "b"), re.compile("a" * 300 + "c")),
    "flags of a pattern": (using, re.compile("a"), re.compile("a", re.IGNORECASE)),
    "a path": (using, Path("a"), Path("b")),
    "a range": (using, range(3), range(4)),
    "a slice": (using, slice(0, 3), slice(0, 4)),
    "a decimal": (using, decimal.Decimal("0.1"), decimal.Decimal("0.2")),
    "a function of jnp": (using, jnp.add, jnp.subtract),
    "a compiled function of jax": (using, jax.nn.log_softmax, jax.nn.softmax),
    "a logger": (using, logging.getLogger("a"), logging.getLogger("b")),
}


def values_of(function: Loss) -> dict[str, str]:
    found = user_function(function, "--loss")
    return {"": found.source, **found.values}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of(what: str) -> None:
    make, before, after = CHANGES[what]
    one = values_of(make(before))
    assert one == values_of(make(before))
    assert one != values_of(make(after))


def test_the_value_that_changed_is_named() -> None:
    before, after = (values_of(scaled(by)(plain)) for by in (2.0, 3.0))
    assert changed_value(before, after) == "wrapper 1 closure by was 2.0 and is 3.0"
    before, after = (values_of(object_of({"gamma": g})) for g in (2.0, 3.0))
    assert changed_value(before, after) == "closure value class gamma was 2.0 and is 3.0"
    before, after = (values_of(using(jax.grad(two, argnums=n))) for n in (0, 1))
    what = changed_value(before, after)
    assert what is not None
    assert what.endswith("closure argnums was 0 and is 1")


def test_a_global_of_a_method_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = values_of(using(Focal()))
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    what = changed_value(before, values_of(using(Focal())))
    assert what == "closure value class __call__ global FACTOR was 1.0 and is 2.0"


def test_a_class_that_names_itself_ends() -> None:
    class Node:
        children: ClassVar[list[Any]] = []

        def __call__(self, outputs: Any, batch: Any) -> Any:
            return Node.children

    Node.children.append(Node)
    assert values_of(Node()) == values_of(Node())


def test_a_stateful_object_is_refused_wherever_a_function_keeps_it() -> None:
    drawn = np.random.default_rng(0)

    class Noisy:
        def __init__(self) -> None:
            self.drawn = drawn

        def __call__(self, outputs: Any, batch: Any) -> Any:
            return outputs

    for loss in (using(drawn), Noisy(), scaled(drawn)(plain)):  # type: ignore[arg-type]
        with pytest.raises(InputError, match="a Generator, of which nothing can be recorded"):
            user_function(loss, "--loss")


def test_what_many_functions_use_is_described_once() -> None:
    """Else each of 60 levels would double the work."""

    def levels(function: Loss) -> Loss:
        for _ in range(60):
            function = using_both(using(function), using(function))
        return function

    before = values_of(levels(plain))
    assert len(before) < 1000
    assert before == values_of(levels(plain))
    assert before != values_of(levels(other))


def using_both(left: Loss, right: Loss) -> Loss:
    def loss(outputs: Any, batch: Any) -> Any:
        return left(outputs, batch) + right(outputs, batch)

    return loss
