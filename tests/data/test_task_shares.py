"""Which task a step trains: shares exact in every cycle, batches in their order, from any step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data.task_shares import TaskShares
from jaxbert.errors import InputError

SHARES = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 5), min_size=1)


@given(SHARES, st.integers(0, 2**31), st.integers(0, 10**6))
def test_every_cycle_keeps_the_shares_and_every_task_its_order(
    shares: dict[str, int], seed: int, cycle: int
) -> None:
    turns, size = TaskShares(shares, seed), sum(shares.values())
    drawn = [turns.draw(step) for step in range(cycle * size, (cycle + 2) * size)]
    for part in (drawn[:size], drawn[size:]):
        names = [name for name, _ in part]
        assert {name: names.count(name) for name in names} == shares
    for name, share in shares.items():  # none of its batches is left out or comes twice
        numbers = [number for other, number in drawn if other == name]
        assert numbers == list(range(cycle * share, (cycle + 2) * share))
    again = TaskShares(shares, seed)  # a step needs none before it
    assert [again.draw(cycle * size + n) for n in reversed(range(2 * size))] == drawn[::-1]


def test_cycles_and_seeds_differ() -> None:
    orders = {
        seed: [TaskShares({"a": 3, "b": 3}, seed).draw(step)[0] for step in range(60)]
        for seed in range(3)
    }
    assert len({tuple(order) for order in orders.values()}) == 3
    cycles = {tuple(orders[0][start : start + 6]) for start in range(0, 60, 6)}
    assert len(cycles) > 1


@pytest.mark.parametrize("shares", [{}, {"a": 0}, {"a": 1, "b": -1}, {"a": 0.5}, {"a": True}])
def test_what_is_no_share_is_refused(shares: Any) -> None:
    with pytest.raises(InputError, match=r"share of|no shares"):
        TaskShares(shares, 0)
