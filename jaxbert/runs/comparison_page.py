"""report.html of compared losses: their scores over the seeds, and their curves with a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxbert.report.curves import seed_bands
from jaxbert.report.records import Page, Range, Table
from jaxbert.runs.comparison_table import COLUMNS, Row, note_on
from jaxbert.runs.published import Published
from jaxbert.runs.record import RunRecord
from jaxbert.runs.run_files import LOG
from jaxbert.runs.run_report import machine_facts, read_log, spoken, written_now

_CURVES = {"loss": "Training loss", "accuracy": "Accuracy of the training batches"}


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
    """A score of all losses: every seed a point, from the lowest to the highest a bar; and where
    the difference to the first may be, a bar beside zero."""
    published = known.scores.get(metric) if known else None
    values = [value for row in rows for value in row.values]
    least, most = _ends([*values, *(published or ())])
    intervals = [row.interval for row in rows if row.interval]
    differences = [row.difference for row in rows if row.difference is not None]
    ends = _ends([0.0, *differences, *(end for i in intervals for end in (i.low, i.high))])
    shown = []
    for row in rows:
        band = Range(least, most, min(row.values), max(row.values), row.values, rows[0].mean)
        mean, deviation, change, interval, *others = row.cells()
        drawn: str | Range = ""
        if row.difference is not None:
            low, high = row.interval[:2] if row.interval else (row.difference, row.difference)
            drawn = Range(*ends, low, high, [row.difference], 0.0)
        shown.append((row.loss, band, mean, deviation, drawn, change, interval, *others))
    note = f"Seeds: from {least:.4g} to {most:.4g}; the dashed line is the mean of the first loss. "
    if differences:
        note += "Beside zero: from {:.4g} to {:.4g}; the dashed line is zero. ".format(*ends)
    note += note_on(rows)
    if published and known:
        low, high = published
        note += f" Published for {known.model}: {low:g} to {high:g} ({known.source})."
    mean, deviation, *names = COLUMNS
    columns = ("loss", "seeds", mean, deviation, "beside zero", *names)
    return Table(columns, shown, title=metric, note=note)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that has all of them."""
    margin = 0.05 * (max(values) - min(values)) or 1.0
    return min(values) - margin, max(values) + margin
