"""Lines of train_log.jsonl and evaluations -> charts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from jaxbert.metrics.scores import LOSS, Metric, Scores
from jaxbert.report.records import Chart, Series

Line: TypeAlias = Mapping[str, float | None]

MOST_POINTS = 2000  # of a curve: more than a screen has
_PARTS = 40  # of a run, over each of which a curve is smoothed

# Field of the log -> the title of its chart, and the unit.
_CHARTS = {
    "learning_rate": ("Learning rate", ""),
    "grad_norm": ("Gradient norm", "before it is clipped"),
    "tokens_per_second": ("Throughput", "real tokens a second"),
    "examples_per_second": ("Examples", "a second"),
}
_NO_CURVES = ("step", "epoch", "loss")


def training_charts(
    lines: Sequence[Line], evaluations: Sequence[Scores], metrics: Sequence[Metric]
) -> list[Chart]:
    """Charts of a run: loss, accuracy, scores of its evaluations, and whatever else it has logged.

    Args:
        lines: of the log, in order.
        evaluations: each with its step.
        metrics: the scores that are drawn.
    """
    if not lines:
        return []
    names = list(dict.fromkeys(name for line in lines for name in line))
    charts = [_chart("Loss", "", [*_curve(lines, "loss"), *_evaluated(evaluations, [LOSS])])]
    accuracies = [name for name in names if name.endswith("accuracy")]
    if accuracies:
        drawn = [_curve(lines, name)[-1] for name in accuracies]
        charts.append(_chart("Accuracy of the training batches", "fraction", drawn))
    scores = [m for m in metrics if m.name != LOSS]
    # What has no top, as a perplexity or a squared error, would press the others to the foot.
    bounded = [m.name for m in scores if not m.lower_is_better]
    if drawn := _evaluated(evaluations, bounded):
        charts.append(_chart("Scores of the evaluations", "", drawn))
    for m in scores:
        if m.lower_is_better and (drawn := _evaluated(evaluations, [m.name])):
            charts.append(_chart(f"{_titled(m.name)} of the evaluations", "", drawn))
    for name in names:
        if name not in (*_NO_CURVES, *accuracies):
            title, unit = _CHARTS.get(name, (_titled(name), ""))
            charts.append(_chart(title, unit, _curve(lines, name)))
    return charts


def seed_bands(runs: Mapping[str, Sequence[Sequence[Line]]], name: str, title: str) -> Chart | None:
    """A field of several runs' logs: of each group its mean over the runs, and a band from the
    lowest to the highest; None where nothing was logged.

    Args:
        runs: name of a group -> the log of each of its runs.
    """
    series = []
    for group, logs in runs.items():
        smooth = [_curve(log, name)[-1] for log in logs if log]
        if not smooth:
            continue
        found = [dict(zip(one.x, one.y, strict=True)) for one in smooth]
        steps = [x for x in smooth[0].x if all(one.get(x) is not None for one in found)]
        values = [[one[x] or 0.0 for one in found] for x in steps]
        means = [sum(of) / len(of) for of in values]
        band = len(found) > 1
        series.append(
            Series(
                group,
                steps,
                means,
                low=[min(of) for of in values] if band else (),
                high=[max(of) for of in values] if band else (),
            )
        )
    return _chart(title, "", series) if series else None


def _chart(title: str, unit: str, series: Sequence[Series]) -> Chart:
    return Chart(title, "step", unit, series, says=_says(series), linked=True)


def _curve(lines: Sequence[Line], name: str) -> list[Series]:
    """A field of the log as it is, and smoothed where it has many lines; the last is what to look
    at."""
    points = [(line["step"], line[name]) for line in lines if name in line]
    steps = [step or 0.0 for step, _ in points]
    values = [value for _, value in points]
    size = max(1, len(values) // _PARTS)
    if size == 1 or name == "learning_rate":
        return [_thinned(Series(_spoken(name), steps, values))]
    smooth = Series(f"{_spoken(name)}, mean of {size}", steps, _smooth(values, size))
    return [_thinned(Series(_spoken(name), steps, values, look="faint")), _thinned(smooth)]


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _titled(name: str) -> str:
    return _spoken(name).capitalize()


def _evaluated(evaluations: Sequence[Scores], names: Sequence[str]) -> list[Series]:
    """Scores of evaluations, by step."""
    found = []
    for name in names:
        points = [
            (float(e["step"]), float(e[name])) for e in evaluations if name in e and "step" in e
        ]
        if points:
            steps, values = zip(*sorted(points), strict=True)
            title = "evaluation" if name == LOSS else name
            found.append(Series(title, steps, values, look="points"))
    return found


def _smooth(values: Sequence[float | None], size: int) -> list[float | None]:
    """Of each value the mean with those before it, `size` in all; what is missing counts nothing.

    >>> _smooth([1.0, 3.0, None, 7.0], 2)
    [1.0, 2.0, 3.0, 7.0]
    """
    sums = [0.0, *itertools.accumulate(value or 0.0 for value in values)]
    counts = [0, *itertools.accumulate(value is not None for value in values)]
    found: list[float | None] = []
    for end in range(1, len(values) + 1):
        first = max(0, end - size)
        count = counts[end] - counts[first]
        found.append((sums[end] - sums[first]) / count if count else None)
    return found


def _thinned(series: Series) -> Series:
    """The same with at most MOST_POINTS points, each the mean of those that it stands for.

    >>> len(_thinned(Series("a", range(10001), [1.0] * 10001)).x) <= MOST_POINTS
    True
    """
    size = -(-len(series.x) // MOST_POINTS)
    if size <= 1:
        return series
    starts = range(0, len(series.x), size)
    parts = [[v for v in series.y[n : n + size] if v is not None] for n in starts]
    y = [sum(part) / len(part) if part else None for part in parts]
    x = [series.x[min(n + size, len(series.x)) - 1] for n in starts]
    return Series(series.name, x, y, series.look)


def _says(series: Sequence[Series]) -> str:
    """Where each curve begins and ends, and its lowest and highest value, in words."""
    said = []
    for one in series:
        known = [(x, y) for x, y in zip(one.x, one.y, strict=True) if y is not None]
        if one.look == "faint" or not known:
            continue
        values = [y for _, y in known]
        (first, begin), (last, end) = known[0], known[-1]
        text = f"{one.name}: {end:.4g} at step {last:g}"
        if len(known) > 1:
            low, high = min(values), max(values)
            text = f"{one.name}: {begin:.4g} at step {first:g}, {end:.4g} at step {last:g}"
            text += f", between {low:.4g} and {high:.4g}"
        said.append(text)
    return "; ".join(said)
