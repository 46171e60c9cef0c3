"""Two ways to do the same work, timed in turns, and what is said of them."""

from __future__ import annotations

import dataclasses
import gc
import statistics
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypedDict, TypeVar, Unpack

T = TypeVar("T")

Both: TypeAlias = dict[str, float]  # a value each of "jaxbert" and "baseline"
Tried: TypeAlias = dict[str, float | str]  # seconds of a way, or why it is not possible


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


class Other(TypedDict):
    """The baseline in another precision: its rate, and that rate by jaxbert's with its spread."""

    value: float
    times_jaxbert: float
    spread: tuple[float, float]


class More(TypedDict, total=False):
    """What else a row says, as benchmark.json has it.

    Attributes:
        seconds: of every round.
        precision: that jaxbert computes in.
        mfu: model_flops_per_second by the most that the machine can do.
        batch, length: windows of a batch, and tokens of each.
        attention: jaxbert's.
        row_lengths: to which jaxbert pads.
        padding_of_epoch: the part of all tokens.
        baseline_batches: examples a second at the batches that were tried.
        step_seconds: jaxbert's.
        one_device: the row's value there.
    """

    seconds: dict[str, list[float]]
    compile_seconds: Both
    precision: str
    baseline_bfloat16: Other
    tokens_per_second: Both
    model_flops_per_second: Both
    mfu: Both
    batch: int
    length: int
    attention: str
    row_lengths: tuple[int, ...]
    file: str
    tokens_of_a_window: float
    examples_per_second: Both
    padding_of_epoch: Both
    baseline_batches: dict[str, float]
    baseline_tried: Tried
    step_seconds: float
    one_device: float


@dataclasses.dataclass(frozen=True)
class Timed:
    """What was measured; None where one side has none.

    Attributes:
        jaxbert, baseline: medians, in `unit`.
        ratio: the median of the rounds' ratios; above 1 jaxbert is faster, or takes less.
        spread: the lowest and the highest ratio of a round.
        more: what else was counted.
    """

    name: str
    unit: str
    jaxbert: float | None
    baseline: float | None
    ratio: float | None
    spread: tuple[float, float] | None
    rounds: int
    more: More = dataclasses.field(default_factory=More)


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
    bfloat16: Side | None = None,
) -> Timed:
    """Time both sides in turns.

    Args:
        unit: of the amounts, "examples": the row's values are examples a second, and its ratios
            those of such rates.
        alike: by what part the sides' numbers of tokens may differ, where both are samples.
        peak: floating-point operations a second that the machine can do, for the MFU.
        bfloat16: the baseline in that precision, timed in the same turns and said beside the row.

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
    others = [bfloat16.run] if bfloat16 else []
    a, b, *c = in_turns(rounds, ours.run, theirs.run, *others)
    scale = ours.amount / theirs.amount
    ratios = [scale * y / x for x, y in zip(a, b, strict=True)]
    more: More = {
        "seconds": {"jaxbert": a, "baseline": b},
        "compile_seconds": {
            "jaxbert": round(ours.compile_seconds, 2),
            "baseline": round(theirs.compile_seconds, 2),
        },
        "precision": ours.precision,
    }
    if bfloat16:
        found = [x / y * bfloat16.amount / ours.amount for x, y in zip(a, c[0], strict=True)]
        more["baseline_bfloat16"] = {
            "value": bfloat16.amount / statistics.median(c[0]),
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
    name: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float] | None,
    **more: Unpack[More],
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
