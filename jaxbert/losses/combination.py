"""Several losses at once, each a mean of its own, with weights that may depend on the step."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array

from jaxbert.data.batch import Batch
from jaxbert.errors import InputError
from jaxbert.losses.forms import (
    LOSS,
    AnyLoss,
    Measure,
    Parts,
    Scalar,
    Sums,
    Term,
    by_name,
    outputs_for,
    parts_of,
    required_parameters,
)
from jaxbert.model.heads import Apply, Outputs
from jaxbert.model.params import Params, subtree

_WEIGHTED = re.compile(r"(.+):([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)")


def weighted_names(given: str) -> dict[str, float] | None:
    """The losses of --loss a:1.0 b:0.5 with their weights; None where it is another form.

    Raises:
        InputError: one of them has no weight, or two are the same.

    >>> weighted_names("focal:1 my.py:f:0.5"), weighted_names("my.py:f")
    ({'focal': 1.0, 'my.py:f': 0.5}, None)
    """
    words = given.split()
    found = [_WEIGHTED.fullmatch(word) for word in words]
    pairs = [(match[1], float(match[2])) for match in found if match]
    if not pairs:
        return None
    if len(pairs) < len(words):
        other = words[found.index(None)]
        raise InputError(f"--loss {given}: {other} has no weight from 0 on; give {other}:1.0")
    if len(dict(pairs)) < len(pairs):
        raise InputError(f"--loss {given}: it names a loss twice")
    return dict(pairs)


@dataclasses.dataclass(frozen=True)
class Combination:
    """A loss of the second form: the sum over losses of weight times value.

    Outputs are computed once for all losses of outputs. Each loss is reported as NAME_loss, a mean
    without its weight; one of several terms as NAME_loss, NAME_loss_2 and so on.

    Attributes:
        losses: by the name that they are reported by.
        weights: of each loss; a number, or a function of the steps that have been done, () int32.
        measure: see objective_of.
    """

    losses: Mapping[str, AnyLoss]
    weights: Mapping[str, float] | Callable[[Array], Sequence[Scalar]]
    measure: Measure | None = None

    def __call__(
        self,
        apply: Apply,
        params: Params,
        batch: Batch[Array],
        key: Array,
        step: Array,
    ) -> Parts:
        """The terms of all losses."""
        of_outputs = [f for f in self.losses.values() if required_parameters(f) == 2]
        outputs: Outputs = {}
        if of_outputs:
            outputs = outputs_for(of_outputs, apply, params, batch, key)
        reported: Sums = self.measure(outputs, batch) if self.measure and outputs else {}
        terms: list[Term] = []
        for (name, function), factor in zip(self.losses.items(), self._factors(step), strict=True):
            own = _own(params, name)
            given = by_name(function, outputs, own, step)
            if required_parameters(function) == 4:
                parts = parts_of(function(apply, own, batch, key, **given))
            else:
                parts = parts_of(function(outputs, batch, **given))
            for number, term in enumerate(parts.terms, 1):
                shown = f"{name}_loss" + f"_{number}" * (number > 1)
                reported[shown] = (term.factor * term.sum, term.weight)
                terms.append(term._replace(factor=factor * term.factor))
            reported = {**{f"{name}_{n}": x for n, x in parts.reported.items()}, **reported}
        return Parts(tuple(terms), reported)

    def measured_by(self, measure: Measure | None) -> Combination:
        """See Measured."""
        return dataclasses.replace(self, measure=measure)

    def _factors(self, step: Array) -> Sequence[float | Scalar]:
        if isinstance(self.weights, Mapping):
            return [self.weights[name] for name in self.losses]
        return list(self.weights(jnp.asarray(step, jnp.int32)))


def _own(params: Params, name: str) -> Params:
    """The parameters as a loss of a combination knows them: its own under `loss`."""
    if LOSS not in params:
        return params
    of_all = subtree(params, LOSS)
    rest: Params = {n: part for n, part in params.items() if n != LOSS}
    return {**rest, LOSS: subtree(of_all, name)} if name in of_all else rest
