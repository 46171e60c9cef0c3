"""Soft labels: a distribution over classes in place of one class, as annotators who disagree, or
another model, give it."""

from __future__ import annotations

import dataclasses
import math

from jaxbert.data.rows import Cell, replace_surrogates
from jaxbert.errors import DataError
from jaxbert.io.untrusted import shown

_TOLERANCE = 1e-3  # of the sum: probabilities are written with few digits


@dataclasses.dataclass(frozen=True)
class SoftLabel:
    """Classes and their probabilities, in the order of the row.

    As text it is the most probable class, the first of several: so it is scored.

    >>> str(SoftLabel(("no", "yes"), (0.3, 0.7)))
    'yes'
    """

    names: tuple[str, ...]
    probabilities: tuple[float, ...]

    def __str__(self) -> str:
        return self.names[self.probabilities.index(max(self.probabilities))]


def soft_label_in(cell: dict[str, Cell], column: str, where: str) -> SoftLabel:
    """The distribution of a cell, an object of class: probability; a class without one has 0.

    Raises:
        DataError: a probability is no number from 0 on, or their sum is not 1.
    """
    what = f'label column "{column}"'
    probabilities = {}
    for name, value in cell.items():
        number = 0.0 if value is None else value  # as tables have classes that a row does not name
        if isinstance(number, bool) or not isinstance(number, int | float) or not number >= 0:
            raise DataError(
                where,
                f"{what}: the probability of {shown(name)} is {shown(str(value)[:40])}, expected a "
                "number from 0 to 1",
            )
        probabilities[replace_surrogates(name.strip())] = float(number)
    total = math.fsum(probabilities.values())
    if "" in probabilities or not abs(total - 1) <= _TOLERANCE:
        raise DataError(
            where, f"{what}: its {len(cell)} probabilities have the sum {total:.6g}, expected 1"
        )
    return SoftLabel(tuple(probabilities), tuple(p / total for p in probabilities.values()))
