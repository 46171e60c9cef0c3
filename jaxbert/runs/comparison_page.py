"""report.html of compared losses: their scores over the seeds, and their curves with a band."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxbert.report.curves import seed_bands
from jaxbert.report.records import Page, Range, Table
from jaxbert.runs.published import Published
from jaxbert.runs.record import RunRecord
from jaxbert.runs.run_files import LOG
from jaxbert.runs.run_report import machine_facts, read_log, spoken, written_now

_CURVES = {"loss": "Training loss", "accuracy": "Accuracy of the training batches"}


class Row(NamedTuple):
    """A loss and a score, over the seeds.

    Attributes:
        values: of each seed, in their order.
        difference: mean difference to the first loss, seed by seed; None for that itself.
        p: of a paired t-test of it, two-sided; None where there are too few seeds or no difference
            varies.
    """

    loss: str
    metric: str
    values: list[float]
    difference: float | None
    p: float | None

    @property
    def mean(self) -> float:
        """Of the values."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """The sample's standard deviation (n - 1); NaN for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan


def comparison_page(
    task: str,
    rows: Sequence[Row],
    folders: Mapping[str, Sequence[Path]],
    known: Published | None,
    command: str,
) -> Page:
    """The page of a comparison.

    Args:
        folders: loss -> the folder of the run of each seed.
        known: scores that others have published.
    """
    metrics = list(dict.fromkeys(row.metric for row in rows))
    logs = {
        loss: [read_log(folder / LOG) for folder in of if (folder / LOG).exists()]
        for loss, of in folders.items()
    }
    names = [*_CURVES, *_other_accuracies(logs)]
    charts = [
        seed_bands(logs, name, _CURVES.get(name, name.replace("_", " ").capitalize()))
        for name in names
    ]
    record = RunRecord.read(next(iter(folders.values()))[0])
    seeds = len(rows[0].values)
    return Page(
        title=f"{spoken(task)}: losses compared",
        lead=f"{len(folders)} losses, {seeds} seed{'s' * (seeds != 1)} each. {written_now()}",
        headline={},
        tables=[
            _table(metric, [r for r in rows if r.metric == metric], known) for metric in metrics
        ],
        charts=[chart for chart in charts if chart is not None],
        facts=machine_facts(record.versions, record.machine) if record else [],
        command=command,
    )


def _other_accuracies(
    logs: Mapping[str, Sequence[Sequence[Mapping[str, float | None]]]],
) -> list[str]:
    """start_accuracy and end_accuracy, where a task has those."""
    names = {name for of in logs.values() for log in of for line in log[:1] for name in line}
    return sorted((n for n in names if n.endswith("_accuracy")), reverse=True)


def _table(metric: str, rows: Sequence[Row], known: Published | None) -> Table:
    """A score of all losses: every seed a point, from the lowest to the highest a bar."""
    values = [value for row in rows for value in row.values]
    published = known.scores.get(metric) if known else None
    ends = [*values, *(published or ())]
    margin = 0.05 * (max(ends) - min(ends)) or 1.0
    least, most = min(ends) - margin, max(ends) + margin
    shown = []
    for row in rows:
        band = Range(least, most, min(row.values), max(row.values), row.values, rows[0].mean)
        deviation = f"{row.deviation:.2g}" if len(row.values) > 1 else ""
        change = "" if row.difference is None else f"{row.difference:+.4g}"
        p = "" if row.p is None else f"{row.p:.3f}"
        shown.append((row.loss, band, f"{row.mean:.4g}", deviation, change, p))
    note = (
        f"From {least:.4g} to {most:.4g}; the dashed line is the mean of the first loss. "
        "Difference and p: to the first loss, seed by seed (paired t-test, two-sided); with few "
        "seeds a small p of many is chance."
    )
    if published and known:
        low, high = published
        note += f" Published for {known.model}: {low:g} to {high:g} ({known.source})."
    columns = ("loss", "seeds", "mean", "std. dev.", "difference", "p")
    return Table(columns, shown, title=metric, note=note)
