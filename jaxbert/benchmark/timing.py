"""Times two ways to do the same work in turns; the result is a row."""

from __future__ import annotations

import dataclasses
import gc
import statistics
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypedDict, TypeVar, Unpack

from jaxbert.benchmark.energy import Metered

T = TypeVar("T")

Both: TypeAlias = dict[str, float]  # a value each of "jaxbert" and "baseline"
Tried: TypeAlias = dict[str, float | str]  # seconds of a way, or why it failed


@dataclasses.dataclass(frozen=True)
class Side:
    """One way to do the work.

    Attributes:
        run: does the work once, to its very end, and returns the seconds.
        precision: the dtype of the products, as "float32".
        tokens: real ones; padding does not count.
        amount: how much work it is, in the row's unit: examples, questions.
        compile_seconds: by which the first run was slower than a later one.
        flops: of the model for this work (see model_flops); 0 where that has no meaning.
    """

    run: Callable[[], float]
    precision: str
    tokens: int
    amount: float
    compile_seconds: float = 0.0
    flops: float = 0.0


class Other(TypedDict):
    """The baseline in another precision: its rate, and the ratio to jaxbert's with its spread."""

    value: float
    times_jaxbert: float
    spread: tuple[float, float]


class More(TypedDict, total=False):
    """Further columns of a row, by their names in benchmark.json.

    Attributes:
        seconds: per round.
        joules: of a round's work, where a GPU tells them.
        precision: of jaxbert.
        mfu: model_flops_per_second divided by the machine's peak.
        batch, length: windows per batch, and tokens per window.
        devices: that a batch is divided among, where they are several.
        attention: jaxbert's implementation.
        row_lengths: to which jaxbert pads.
        padding_of_epoch: its share of all tokens.
        baseline_batches: examples per second at each batch size that was tried.
        step_seconds: jaxbert's.
        one_device: the row's value on one device.
    """

    seconds: dict[str, list[float]]
    compile_seconds: Both
    joules: Both
    precision: str
    baseline_bfloat16: Other
    tokens_per_second: Both
    model_flops_per_second: Both
    mfu: Both
    batch: int
    devices: int
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
    """A measured row; baseline, ratio and spread are None where there is no baseline.

    Attributes:
        jaxbert, baseline: medians, in `unit`.
        ratio: the median of the rounds' ratios; above 1 jaxbert is faster, or takes less.
        spread: the lowest and the highest ratio of a round.
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
    """Seconds of compiling: by which the first run is slower than the second."""
    first = run()
    return max(0.0, first - run())


def in_turns(rounds: int, *sides: Callable[[], T]) -> list[list[T]]:
    """The results of each side, round by round: A B, B A, A B, ..."""
    results: list[list[T]] = [[] for _ in sides]
    for number in range(rounds):
        pairs = list(zip(sides, results, strict=True))
        for run, values in pairs[:: 1 if number % 2 == 0 else -1]:
            gc.collect()  # or one side's garbage is collected in the other's time
            values.append(run())
    return results


def compare(
    name: str,
    unit: str,
    ours: Side,
    theirs: Side,
    *,
    rounds: int,
    tolerance: float = 0.0,
    peak: float | None = None,
    bfloat16: Side | None = None,
) -> Timed:
    """Time both sides in turns.

    Args:
        unit: of the amounts: with "examples" the values are examples per second, and the ratios
            those of these rates.
        tolerance: the share by which the sides' tokens may differ, where both are samples.
        peak: floating-point operations per second that the machine can do, for the MFU.
        bfloat16: the baseline in that precision, timed in the same turns and reported with the row.

    Raises:
        ValueError: the sides differ in precision or in the number of real tokens.
    """
    if ours.precision != theirs.precision:
        raise ValueError(f"{name}: {ours.precision} is not compared with {theirs.precision}")
    far = abs(ours.tokens - theirs.tokens) > tolerance * theirs.tokens
    if far or (not tolerance and ours.amount != theirs.amount):
        raise ValueError(
            f"{name}: {ours.tokens} tokens of {ours.amount} {unit} are not compared with "
            f"{theirs.tokens} of {theirs.amount}"
        )
    others = [bfloat16.run] if bfloat16 else []
    mine, other = Metered(ours.run), Metered(theirs.run)
    a, b, *c = in_turns(rounds, mine, other, *others)
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
    if mine.joules and other.joules:
        more["joules"] = {
            "jaxbert": statistics.median(mine.joules),
            "baseline": statistics.median(other.joules),
        }
    if bfloat16:
        fast = [x / y * bfloat16.amount / ours.amount for x, y in zip(a, c[0], strict=True)]
        more["baseline_bfloat16"] = {
            "value": bfloat16.amount / statistics.median(c[0]),
            "times_jaxbert": statistics.median(fast),
            "spread": (min(fast), max(fast)),
        }
    for who, side, seconds in (("jaxbert", ours, a), ("baseline", theirs, b)):
        median = statistics.median(seconds)
        if side.tokens:
            more.setdefault("tokens_per_second", {})[who] = round(side.tokens / median, 1)
        if side.flops:
            more.setdefault("model_flops_per_second", {})[who] = side.flops / median
            if peak:
                more.setdefault("mfu", {})[who] = round(side.flops / median / peak, 4)
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
    """A row whose values are better when they are lower: seconds or GiB, one per round."""
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
