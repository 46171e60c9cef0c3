"""A page as one HTML file: Jinja2 escapes every text, uPlot draws the curves, both are in it."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxbert.metrics.calibration import calibration_error, reliability
from jaxbert.report.payload import as_script, chart_json, examples_json
from jaxbert.report.records import Chart, Confusion, Findings, Page, Range, Series

if TYPE_CHECKING:
    from jinja2 import Template

MOST_CLASSES = 24  # of a confusion matrix; the others are one row and column
OTHERS = "(others)"
_SCRIPTS = ("uPlot.iife.min.js", "report.js")
_STYLES = ("uPlot.min.css", "report.css")


def html(page: Page) -> str:
    """The file. It needs nothing beside itself, and may load nothing."""
    from markupsafe import Markup  # with Jinja2: no command but those that report needs them

    findings = page.findings
    charts = [*page.charts, *(findings.charts if findings else ())]
    calibration = _calibration(findings)
    if calibration is not None:
        charts.append(calibration)
    data = {
        "charts": [chart_json(chart) for chart in charts],
        "examples": examples_json(findings.shown) if findings else None,
    }
    scripts = [_file(name) for name in _SCRIPTS]
    # Only these two scripts run, whatever else a text might begin.
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return _template().render(
        page=page,
        charts=[*enumerate(page.charts)],
        found=[*enumerate(charts)][len(page.charts) :],
        glance=len(charts) > len(page.charts)
        or bool(findings and (findings.tables or findings.confusion)),
        confusion=_confusion(findings.confusion) if findings and findings.confusion else None,
        data=Markup(as_script(data)),
        scripts=[Markup(script) for script in scripts],
        styles=[Markup(_file(name)) for name in _STYLES],
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}",
        is_range=lambda cell: isinstance(cell, Range),
        place=_place,
    )


@functools.cache
def _file(name: str) -> str:
    return importlib.resources.files("jaxbert.report").joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("jaxbert.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja")


def _place(cell: Range, value: float) -> float:
    """Where a value is between the ends of a range, in percent.

    >>> _place(Range(0, 2, 0, 1), 0.5)
    25.0
    """
    width = cell.most - cell.least
    return 50.0 if not width else round(100 * (value - cell.least) / width, 2)


def _calibration(findings: Findings | None) -> Chart | None:
    """How often predictions of a confidence are right."""
    if findings is None or not findings.confidences:
        return None
    confidences, right = findings.confidences.given, findings.confidences.right
    bins = reliability(confidences, right)
    error = calibration_error(confidences, right)
    said = "; ".join(f"{b.answers} at {b.confidence:.0%}: {b.right:.0%} right" for b in bins)
    return Chart(
        "Calibration",
        "mean confidence of a tenth",
        "part that is right",
        (
            Series("as it should be", (0.0, 1.0), (0.0, 1.0), look="guide"),
            Series("right", [b.confidence for b in bins], [b.right for b in bins]),
        ),
        says=f"expected calibration error {error:.3f}; {said}",
    )


def _confusion(whole: Confusion) -> dict[str, Sequence[str | Sequence[int]] | str | int]:
    """The matrix for the template: names, rows, and the largest count beside the diagonal.

    Of more than MOST_CLASSES the most frequent ones have rows of their own.
    """
    names, counts = list(whole.names), [list(row) for row in whole.counts]
    if len(names) > MOST_CLASSES:
        totals = [sum(counts[n]) + sum(row[n] for row in counts) for n in range(len(names))]
        frequent = sorted(sorted(range(len(names)), key=lambda n: -totals[n])[:MOST_CLASSES])
        place = {n: k for k, n in enumerate(frequent)}
        merged = [[0] * (len(frequent) + 1) for _ in range(len(frequent) + 1)]
        for gold, row in enumerate(counts):
            for predicted, count in enumerate(row):
                merged[place.get(gold, len(frequent))][place.get(predicted, len(frequent))] += count
        names, counts = [*(names[n] for n in frequent), OTHERS], merged
    wrong = [c for n, row in enumerate(counts) for k, c in enumerate(row) if n != k]
    return {"names": names, "counts": counts, "of": whole.of, "most": max(wrong, default=0) or 1}
