"""Two ways to do the same work, timed in turns, and what is said of them."""

from __future__ import annotations

import dataclasses
import gc
import statistics
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Side:
    """One way to do the work.

    Attributes:
        run: does it once, to its very end, and gives the seconds it took.
        precision: what the products are computed in, as "float32".
        tokens: real ones of the work; padding does not count.
        amount: of the work, in the row's unit: examples, questions.
        compile_seconds: that the first run took beyond a later one.
        flops: of the model for this work (see model_flops), 0 where that says nothing.
    """

    run: Callable[[], float]
    precision: str
    tokens: int
    amount: float
    compile_seconds: float = 0.0
    flops: float = 0.0


@dataclasses.dataclass(frozen=True)
class Timed:
    """What was measured; None where one side has none.

    Attributes:
        jaxbert, baseline: medians, in `unit`.
        ratio: the median of the rounds' ratios; above 1 jaxbert is faster, or takes less.
        spread: the lowest and the highest ratio of a round.
        more: whatever else was counted, by name.
    """

    name: str
    unit: str
    jaxbert: float | None
    baseline: float | None
    ratio: float | None
    spread: tuple[float, float] | None
    rounds: int
    more: dict[str, Any] = dataclasses.field(default_factory=dict)


def first_run(run: Callable[[], float]) -> float:
    """Seconds of compiling: those of the first run beyond the second."""
    first = run()
    return max(0.0, first - run())


def in_turns(rounds: int, *sides: Callable[[], T]) -> list[list[T]]:
    """What each side gives, round by round: A B, B A, A B, ..."""
    found: list[list[T]] = [[] for _ in sides]
    for number in range(rounds):
        pairs = list(zip(sides, found, strict=True))
        for run, values in pairs[:: 1 if number % 2 == 0 else -1]:
            gc.collect()  # or one side's garbage is collected in the other's time
            values.append(run())
    return found


def compare(
    name: str,
    unit: str,
    ours: Side,
    theirs: Side,
    *,
    rounds: int,
    alike: float = 0.0,
    peak: float | None = None,
    faster: Side | None = None,
) -> Timed:
    """Time both sides in turns.

    Args:
        unit: of the amounts, "examples": the row's values are examples a second, and its ratios
            those of such rates.
        alike: by what part the sides' numbers of tokens may differ, where both are samples.
        peak: floating-point operations a second that the machine can do, for the MFU.
        faster: the baseline in another precision, timed in the same turns and said beside the row.

    Raises:
        ValueError: the sides are unlike, another precision or number of real tokens.
    """
    if ours.precision != theirs.precision:
        raise ValueError(f"{name}: {ours.precision} is not compared with {theirs.precision}")
    far = abs(ours.tokens - theirs.tokens) > alike * theirs.tokens
    if far or (not alike and ours.amount != theirs.amount):
        raise ValueError(
            f"{name}: {ours.tokens} tokens of {ours.amount} {unit} are not compared with "
            f"{theirs.tokens} of {theirs.amount}"
        )
    others = [faster.run] if faster else []
    a, b, *c = in_turns(rounds, ours.run, theirs.run, *others)
    scale = ours.amount / theirs.amount
    ratios = [scale * y / x for x, y in zip(a, b, strict=True)]
    more: dict[str, Any] = {
        "seconds": {"jaxbert": a, "baseline": b},
        "compile_seconds": {
            "jaxbert": round(ours.compile_seconds, 2),
            "baseline": round(theirs.compile_seconds, 2),
        },
        "precision": ours.precision,
    }
    if faster:
        found = [x / y * faster.amount / ours.amount for x, y in zip(a, c[0], strict=True)]
        more["baseline_" + faster.precision] = {
            "value": faster.amount / statistics.median(c[0]),
            "times_jaxbert": statistics.median(found),
            "spread": (min(found), max(found)),
        }
    for who, side, seconds in (("jaxbert", ours, a), ("baseline", theirs, b)):
        middle = statistics.median(seconds)
        if side.tokens:
            more.setdefault("tokens_per_second", {})[who] = round(side.tokens / middle, 1)
        if side.flops:
            more.setdefault("model_flops_per_second", {})[who] = side.flops / middle
            if peak:
                more.setdefault("mfu", {})[who] = round(side.flops / middle / peak, 4)
    return Timed(
        name=name,
        unit=f"{unit}/s",
        jaxbert=ours.amount / statistics.median(a),
        baseline=theirs.amount / statistics.median(b),
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        rounds=rounds,
        more=more,
    )


def of_less(
    name: str, unit: str, ours: Sequence[float], theirs: Sequence[float] | None, **more: Any
) -> Timed:
    """A row of what is better when it is less, seconds or GiB, round by round."""
    mine = statistics.median(ours)
    if theirs is None:
        return Timed(name, unit, mine, None, None, None, len(ours), more)
    ratios = [y / x for x, y in zip(ours, theirs, strict=True)]
    return Timed(
        name=name,
        unit=unit,
        jaxbert=mine,
        baseline=statistics.median(theirs),
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        rounds=len(ratios),
        more=more,
    )


def show(row: Timed) -> str:
    """The row in one line."""
    values = [
        f"{who} {value:.4g}"
        for who, value in (("jaxbert", row.jaxbert), ("baseline", row.baseline))
        if value is not None
    ]
    line = f"{row.name}: {', '.join(values)} {row.unit}"
    if row.ratio is not None:
        line += f"; ratio {row.ratio:.2f}"
    if row.spread is not None:
        line += f" ({row.spread[0]:.2f} to {row.spread[1]:.2f}, {row.rounds} rounds)"
    if fast := row.more.get("baseline_bfloat16"):
        line += f"; baseline in bfloat16 {fast['value']:.4g}"
    return line
