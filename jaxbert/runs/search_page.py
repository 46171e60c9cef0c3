"""The table and report.html of a search: trials, the best first, and the score over each flag."""

from __future__ import annotations

from collections.abc import Sequence

from jaxbert.options.search_space import shown_value
from jaxbert.report.records import Chart, Page, Series, Table
from jaxbert.runs.run_report import spoken, written_now
from jaxbert.runs.search_trials import Trial

OPTIMISTIC = (
    "The best of several trials was chosen on the validation data, so its score there is "
    "optimistic: judge it on data that no trial has seen."
)


def search_table(
    trials: Sequence[Trial], metric: str, best: Trial, *, lower_is_better: bool
) -> Table:
    """The trials, the best first and those without a score last."""
    sign = 1 if lower_is_better else -1
    ordered = sorted(trials, key=lambda t: (t.score is None, sign * (t.score or 0), t.number))
    rows = [
        [
            f"{t.number + 1}" + " (best)" * (t == best),
            t.failed if t.score is None else f"{t.score:.4g}",
            *map(shown_value, t.values.values()),
        ]
        for t in ordered
    ]
    return Table(["trial", metric, *best.values], rows, title="Trials", note=OPTIMISTIC)


def search_page(
    task: str, table: Table, trials: Sequence[Trial], metric: str, command: str
) -> Page:
    """The page of a search.

    Args:
        command: that trains the best trial.
    """
    scored = [(t, t.score) for t in trials if t.score is not None]
    charts = [
        _chart(metric, "trial", [(float(t.number + 1), score) for t, score in scored]),
        *(
            _chart(metric, name, points)
            for name in table.columns[2:]
            if len(points := _numbers(scored, name)) == len(scored)
        ),
    ]
    return Page(
        title=f"{spoken(task)}: search",
        lead=f"{len(trials)} trials. {written_now()}",
        headline={f"best {metric}": str(table.rows[0][1])},
        tables=[table],
        charts=charts,
        command=command,
    )


def _numbers(scored: Sequence[tuple[Trial, float]], name: str) -> list[tuple[float, float]]:
    """The value of a flag and the score, where the value is a number."""
    values = [(t.values[name], score) for t, score in scored]
    return [
        (float(v), score)
        for v, score in values
        if isinstance(v, int | float) and not isinstance(v, bool)
    ]


def _chart(metric: str, x: str, points: Sequence[tuple[float, float]]) -> Chart:
    xs, ys = zip(*sorted(points), strict=True)
    said = "; ".join(f"{b:.4g} at {a:.4g}" for a, b in sorted(points))
    return Chart(f"{metric} over {x}", x, "", [Series(metric, xs, ys, look="points")], says=said)
