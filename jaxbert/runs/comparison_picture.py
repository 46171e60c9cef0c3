"""comparison.png, the seeds of each loss and its difference to the first; learning_curve.png."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxbert.io.drawing import new_figure, save_figure
from jaxbert.runs.comparison_table import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _RED = "#3b6ea5", "#c44e52"


def draw_comparison(rows: Sequence[Row], path: Path) -> None:
    """A column for each score: above every seed a point, the mean a line and its deviation a bar;
    below the differences with their intervals."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    losses = list(dict.fromkeys(row.loss for row in rows))
    tested = len(losses) > 1
    height = 1 + 0.45 * len(losses)
    figure = new_figure(path.name, 4.5 * len(metrics), height * (1 + tested))
    if figure is None:
        return
    for number, metric in enumerate(metrics, 1):
        shown = [row for row in rows if row.metric == metric]
        axes = figure.add_subplot(1 + tested, len(metrics), number)
        axes.set_title(metric)
        for place, row in enumerate(shown):
            axes.errorbar(
                row.mean, place, xerr=row.deviation, fmt="|", color=_BLUE, ms=14, capsize=4
            )
            axes.plot(row.values, [place] * len(row.values), "o", color=_RED, ms=4, alpha=0.7)
        _label(axes, losses if number == 1 else [""] * len(losses))
        if tested:
            axes = figure.add_subplot(2, len(metrics), len(metrics) + number)
            _draw_differences(axes, shown[1:])
            _label(axes, losses[1:] if number == 1 else [""] * len(losses[1:]))
            axes.set_xlabel(f"difference to {losses[0]}, 95 % over examples")
    save_figure(figure, path)


def draw_learning_curve(rows: Sequence[Row], path: Path) -> None:
    """A panel for each score over the number of examples: of each loss its mean, and from the
    lowest to the highest seed a band."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    figure = new_figure(path.name, 4.5 * len(metrics), 3.5)
    if figure is None:
        return
    for number, metric in enumerate(metrics, 1):
        axes = figure.add_subplot(1, len(metrics), number)
        for loss in dict.fromkeys(row.loss for row in rows):
            own = [row for row in rows if (row.loss, row.metric) == (loss, metric)]
            own.sort(key=lambda row: row.fraction)
            x = [row.examples or row.fraction for row in own]
            (line,) = axes.plot(x, [row.mean for row in own], "o-", ms=4, label=loss)
            lowest, highest = ([end(row.values) for row in own] for end in (min, max))
            axes.fill_between(x, lowest, highest, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.set(xscale="log", xlabel="examples to learn from", title=metric)
        labels = {row.examples or row.fraction: row.learned_from for row in rows}
        axes.set_xticks([*labels], [*labels.values()])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        if number == 1:
            axes.legend(frameon=False)
    save_figure(figure, path)


def _draw_differences(axes: Axes, rows: Sequence[Row]) -> None:
    axes.axvline(0, color="#999999", linewidth=1)
    for place, row in enumerate(rows):
        axes.plot([row.difference or 0.0], [place], "o", color=_RED, ms=5)
        if row.interval:
            axes.plot([row.interval.low, row.interval.high], [place] * 2, color=_BLUE, linewidth=2)


def _label(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
