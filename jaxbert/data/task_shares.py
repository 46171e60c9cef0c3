"""Which of several tasks a step trains, as a pure function of (seed, step)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxbert.errors import InputError


@dataclasses.dataclass(frozen=True)
class TaskShares:
    """Tasks that take turns, each with its share of the steps.

    A cycle has as many steps as the shares add up to, in an order that is drawn from the seed and
    the cycle's number. So every cycle keeps the shares exactly, and any step's task is known
    without those before it.

    Attributes:
        shares: task -> its steps in a cycle, 1 or more.
        seed: of the order.

    Raises:
        InputError: a share is no whole number from 1 on, or there is none.

    >>> turns = TaskShares({"classification": 2, "tagging": 1}, seed=0)
    >>> [turns.draw(step) for step in range(3)]
    [('tagging', 0), ('classification', 0), ('classification', 1)]
    """

    shares: Mapping[str, int]
    seed: int

    def __post_init__(self) -> None:
        for name, share in self.shares.items():
            if type(share) is not int or share < 1:
                raise InputError(f"the share of {name} is {share!r}: give a whole number from 1 on")
        if not self.shares:
            raise InputError("there are no shares; give one for each task")

    def draw(self, step: int) -> tuple[str, int]:
        """The task that a step trains, and how many steps that task has had before it: the number
        of its batch.

        Args:
            step: from 0.
        """
        slots = [name for name, share in self.shares.items() for _ in range(share)]
        cycle, place = divmod(step, len(slots))
        order = np.random.default_rng([self.seed, cycle]).permutation(len(slots))
        drawn = [slots[slot] for slot in order]
        name = drawn[place]
        return name, cycle * self.shares[name] + drawn[:place].count(name)
