"""report.html of compared runs: their scores over the seeds and over the examples that they learned
from, and their curves with a band."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxbert.report.curves import seed_bands
from jaxbert.report.records import Chart, Page, Range, Series, Table
from jaxbert.runs.comparison_table import COLUMNS, Row, note_on, parts_of
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
        folders: a loss, with its part of the data where there are several -> the folder of the run
            of each seed.
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
    parts, losses = len(parts_of(rows)), len({row.loss for row in rows})
    counts = [_counted(losses, "loss", "losses")]
    counts += [_counted(parts, "part of the data", "parts of the data")] * (parts > 1)
    counts.append(_counted(len(rows[0].values), "seed", "seeds"))
    if parts > 1:
        charts = [*map(functools.partial(_learning_curve, rows), metrics), *charts]
    return Page(
        title=f"{spoken(task)}: {'losses compared' if losses > 1 else 'learning curve'}",
        lead=f"{', '.join(counts)} each. {written_now()}",
        headline={},
        tables=[
            _table(metric, [r for r in rows if r.metric == metric], known) for metric in metrics
        ],
        charts=[chart for chart in charts if chart is not None],
        facts=machine_facts(record.versions, record.machine) if record else [],
        command=command,
    )


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _learning_curve(rows: Sequence[Row], metric: str) -> Chart:
    """A score over the number of examples: of each loss its mean, and a band over the seeds."""
    series, said = [], []
    for loss in dict.fromkeys(row.loss for row in rows):
        own = [row for row in rows if (row.loss, row.metric) == (loss, metric)]
        own.sort(key=lambda row: row.fraction)
        means = [row.mean for row in own]
        band = len(own[0].values) > 1
        series.append(
            Series(
                loss,
                [float(row.examples or row.fraction) for row in own],
                means,
                low=[min(row.values) for row in own] if band else (),
                high=[max(row.values) for row in own] if band else (),
            )
        )
        points = (f"{row.mean:.4g} of {row.learned_from}" for row in own)
        said.append(f"{loss}: {', '.join(points)}")
    return Chart(metric, "examples to learn from", "", series, says="; ".join(said), log=True)


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
    shown: list[list[str | Range]] = []
    base = rows[0].mean
    parts = len(parts_of(rows)) > 1
    for row in rows:
        base = row.mean if row.difference is None else base  # of the first loss, for each part
        band = Range(least, most, min(row.values), max(row.values), row.values, base)
        mean, deviation, change, interval, *others = row.cells()
        drawn: str | Range = ""
        if row.difference is not None:
            low, high = row.interval[:2] if row.interval else (row.difference, row.difference)
            drawn = Range(*ends, low, high, [row.difference], 0.0)
        cells: list[str | Range] = [row.loss, *[row.learned_from] * parts, band, mean, deviation]
        if differences:
            cells += [drawn, change, interval, *others]
        shown.append(cells)
    note = f"Seeds: from {least:.4g} to {most:.4g}; the dashed line is the mean of the first loss. "
    if differences:
        note += "Beside zero: from {:.4g} to {:.4g}; the dashed line is zero. ".format(*ends)
    note += note_on(rows)
    if published and known:
        low, high = published
        note += f" Published for {known.model}: {low:g} to {high:g} ({known.source})."
    mean, deviation, *names = COLUMNS
    columns = ["loss", *["examples"] * parts, "seeds", mean, deviation]
    columns += ["beside zero", *names] * bool(differences)
    return Table(columns, shown, title=metric, note=note)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that has all of them."""
    margin = 0.05 * (max(values) - min(values)) or 1.0
    return min(values) - margin, max(values) + margin
