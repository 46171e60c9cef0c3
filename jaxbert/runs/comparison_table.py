"""The rows of a comparison: scores over seeds, and whether they differ from those of the first."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence

from jaxbert.io.files import Json
from jaxbert.metrics.differences import Interval, effect_size, holm, paired_p
from jaxbert.metrics.scores import Scores, number_of

_SIGNIFICANT = 0.05
NO_DIFFERENCE = "no difference shown"
NOT_TESTED = "not tested"


@dataclasses.dataclass(frozen=True)
class Row:
    """A loss, a part of the training data and a score, over the seeds.

    Attributes:
        values: of each seed, in their order.
        difference: mean difference to the first loss, seed by seed, learning from as much; None for
            that itself.
        p: of a paired t-test of it, two-sided; None where there are too few seeds or no difference
            varies.
        interval: of the difference over the examples; None where their results are not known.
        effect: the difference in standard deviations of a run; None where nothing varies.
        corrected: the larger of the p-values over seeds and over examples, corrected for all rows
            of this score; None where there is none.
        verdict: what the row shows, in words; "" for the first loss.
        fraction: of the training data that it learns from.
        examples: how many these are; None where an earlier version did not keep it.
    """

    loss: str
    metric: str
    values: list[float]
    difference: float | None
    p: float | None
    interval: Interval | None = None
    effect: float | None = None
    corrected: float | None = None
    verdict: str = ""
    fraction: float = 1.0
    examples: int | None = None

    @property
    def mean(self) -> float:
        """Of the values."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """The sample's standard deviation (n - 1); NaN for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    def to_json(self) -> dict[str, Json]:
        """The row as comparison.json has it."""
        content = dataclasses.asdict(self)
        content["interval"] = self.interval._asdict() if self.interval else None
        content |= {"mean": self.mean, "deviation": self.deviation}
        return {n: None if x != x else x for n, x in content.items()}  # JSON has no NaN

    def cells(self) -> tuple[str, ...]:
        """Mean, deviation, difference, interval, effect, p, corrected p and verdict, as shown."""
        interval = self.interval
        return (
            f"{self.mean:.4g}",
            f"{self.deviation:.2g}" if len(self.values) > 1 else "",
            "" if self.difference is None else f"{self.difference:+.4g}",
            "" if interval is None else f"{interval.low:+.3g} to {interval.high:+.3g}",
            "" if self.effect is None else f"{self.effect:+.2f}",
            "" if self.p is None else f"{self.p:.3f}",
            "" if self.corrected is None else f"{self.corrected:.3f}",
            self.verdict,
        )

    @property
    def learned_from(self) -> str:
        """How much it learns from, as shown."""
        return f"{self.fraction:.2%}" if self.examples is None else f"{self.examples:,}"


COLUMNS = ("mean", "std. dev.", "difference", "95 % interval", "d", "p", "Holm", "shown")


def table(
    found: Mapping[str, Sequence[Scores]],
    metrics: Iterable[str],
    intervals: Mapping[str, Mapping[str, Interval]] | None = None,
    fraction: float = 1.0,
    examples: int | None = None,
) -> list[Row]:
    """A row for each score and loss, to be judged.

    Args:
        found: the scores of every seed by loss.
        intervals: loss -> score -> over the examples.
        fraction, examples: of what they have learned from.
    """
    first = next(iter(found))
    rows = []
    for metric in metrics:
        base = [number_of(scores, metric) for scores in found[first]]
        for loss, runs in found.items():
            values = [number_of(scores, metric) for scores in runs]
            if loss == first:
                rows.append(Row(loss, metric, values, None, None))
                continue
            differences = [b - a for a, b in zip(base, values, strict=True)]
            row = Row(
                *(loss, metric, values, statistics.fmean(differences), paired_p(values, base)),
                interval=(intervals or {}).get(loss, {}).get(metric),
                effect=effect_size(values, base),
            )
            rows.append(row)
    return [dataclasses.replace(row, fraction=fraction, examples=examples) for row in rows]


def judged(rows: Sequence[Row], lower_is_better: Collection[str]) -> list[Row]:
    """The rows with their corrected p-values and verdicts, score by score.

    A difference has to be there over the seeds and over the examples, so the larger p counts. All
    differences of one score are corrected for together; several scores say much the same.
    """
    corrected: dict[int, float] = {}
    metrics = list(dict.fromkeys(row.metric for row in rows))
    rows = sorted(rows, key=lambda row: metrics.index(row.metric))
    for metric in metrics:
        known = {
            number: max(ps)
            for number, row in enumerate(rows)
            if row.metric == metric and (ps := _ps(row))
        }
        corrected |= dict(zip(known, holm(list(known.values())), strict=True))
    return [
        dataclasses.replace(
            row,
            corrected=corrected.get(number),
            verdict=_verdict(row, corrected.get(number), row.metric in lower_is_better),
        )
        for number, row in enumerate(rows)
    ]


def _ps(row: Row) -> list[float]:
    return [p for p in (row.p, row.interval.p if row.interval else None) if p is not None]


def _verdict(row: Row, corrected: float | None, lower_is_better: bool) -> str:
    if row.difference is None:
        return ""
    if corrected is None:
        return NOT_TESTED if row.difference else NO_DIFFERENCE
    if corrected > _SIGNIFICANT or not row.difference or (row.interval and row.interval.holds_zero):
        return NO_DIFFERENCE
    return "better" if (row.difference > 0) != lower_is_better else "worse"


def parts_of(rows: Sequence[Row]) -> list[float]:
    """The parts of the training data that rows are of, in their order."""
    return list(dict.fromkeys(row.fraction for row in rows))


def note_on(rows: Sequence[Row]) -> str:
    """What the columns mean."""
    seeds, parts = len(rows[0].values), len(parts_of(rows)) > 1
    drawn = "A smaller part of the examples is in a larger one; each seed draws its own. "
    if all(row.difference is None for row in rows):
        return drawn * parts + "Std. dev.: over the seeds." * (seeds > 1)
    said = (
        drawn * parts + "Difference: to the first loss" + ", learning from as much" * parts + ", "
        "seed by seed. 95 % interval: of it, by 2,000 resamples of "
        "the examples. d: in standard deviations of a run. p: paired t-test over the seeds, "
        "two-sided. Holm: the larger of the p-values over seeds and examples, corrected for how "
        "many differences of a score there are. Better and worse: Holm up to 0.05, and an interval "
        "without zero."
    )
    if seeds == 1:
        said += " There is one seed: these models differ, and others of the same losses may not."
    return said


def markdown(rows: Sequence[Row]) -> str:
    """The table as text that Markdown shows as a table."""
    parts = len(parts_of(rows)) > 1
    tested = any(row.difference is not None for row in rows)
    names = ["score", "loss", *["examples"] * parts, *COLUMNS[:2], "n", *COLUMNS[2:] * tested]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        mean, deviation, *others = row.cells()
        cells = [row.metric, f"`{row.loss}`", *[row.learned_from] * parts]
        cells += [mean, deviation, str(len(row.values)), *others * tested]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{note_on(rows)}".rstrip() + "\n"
