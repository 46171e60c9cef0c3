"""What a traced function computes: the floating-point operations of its products, and what its
kernels read more than once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax.core
from jax.extend import core
from jax.interpreters import partial_eval

from jaxbert.model import nvidia_attention


class Cost(NamedTuple):
    """Of all devices together.

    Attributes:
        flops: of products of matrices; a multiplication and an addition are two.
        beyond: bytes that kernels read beyond reading each operand once.
    """

    flops: float
    beyond: float

    def times(self, number: float) -> Cost:
        """The cost of computing it that many times."""
        return Cost(self.flops * number, self.beyond * number)

    def plus(self, other: Cost) -> Cost:
        """Both."""
        return Cost(self.flops + other.flops, self.beyond + other.beyond)


def cost_of(jaxpr: core.Jaxpr) -> Cost:
    """The cost of a traced function, without what nothing needs, such as gradients of frozen
    weights that a kernel's backward pass has; a loop's body counts as often as it runs."""
    needed, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _sum_of(needed)


def _sum_of(jaxpr: core.Jaxpr) -> Cost:
    total = Cost(0, 0)
    for equation in jaxpr.eqns:
        total = total.plus(_of(equation))
    return total


def _of(equation: core.JaxprEqn) -> Cost:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left, result = _array(equation.invars[0]).shape, _array(equation.outvars[0]).shape
        terms = math.prod(left[axis] for axis in contracted)
        return Cost(2 * math.prod(result) * terms, 0)
    if name == "triton_kernel_call" and params["fn"].fn.__module__.endswith("triton_attention"):
        qkv = _array(equation.invars[0])
        rows, length, _, heads, size = qkv.shape
        made = nvidia_attention.cost(params["fn"].fn.__name__, params["grid"][0], length, size)
        return Cost(made.flops, made.beyond * qkv.dtype.itemsize).times(rows * heads)
    inner = [_sum_of(jaxpr) for jaxpr in _inside(equation)]
    if name == "cond":
        return max(inner)
    times = 1.0
    if name == "scan":
        times = params["length"]
    elif name == "pallas_call":
        times = math.prod(params["grid_mapping"].grid)
    elif name == "shard_map":  # its shapes are those of one device
        times = params["mesh"].size
    total = Cost(0, 0)
    for cost in inner:
        total = total.plus(cost)
    return total.times(times)


def _array(variable: core.Var | core.Literal) -> jax.core.ShapedArray:
    """The shape and dtype of an operand or a result."""
    array = variable.aval
    assert isinstance(array, jax.core.ShapedArray)
    return array


def _inside(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """The functions that an operation calls."""
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
