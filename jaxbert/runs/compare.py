"""What train/compare.py calls: several losses with several seeds each, and whether they differ."""

from __future__ import annotations

import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from scipy.stats import ttest_rel

from jaxbert.errors import InputError
from jaxbert.io.drawing import new_figure, save_figure
from jaxbert.io.files import Json, write_json, write_text
from jaxbert.metrics.scores import Scores, number_of
from jaxbert.options.fields import Value
from jaxbert.runs.comparison_page import Row, comparison_page
from jaxbert.runs.place import place_of
from jaxbert.runs.published import Published, published_for
from jaxbert.runs.run_report import write_report
from jaxbert.runs.run_set import Planned, RunSet


def compare(runs: RunSet, losses: Sequence[str], seeds: Sequence[int]) -> bool:
    """Train each loss with each seed, as far as that has not been done, and write the table.

    Runs are in the folder of the set, a folder for each loss and seed; comparison.json, .md and
    .png and report.html beside them.

    Args:
        losses: names, FILE.py:FUNCTION, or either with its options behind: focal{"gamma": 1}.

    Returns:
        Whether all is done; False when a signal stopped a run, and the same command resumes.

    Raises:
        InputError: something the user gave cannot be used.
    """
    for name, values in (("losses", losses), ("seeds", seeds)):
        if len(set(values)) != len(values):
            raise InputError(f"--{name}: one is there twice")
    chosen = {loss: runs.choose_loss(*split_args(loss)) for loss in losses}
    output, task, options = runs.check(), runs.task, runs.options
    folders = _folders(output, losses, seeds)
    planned = []
    for (seed, loss), folder in folders.items():
        name, args = split_args(loss)
        changed: dict[str, Value] = {"loss": name, "loss_args": args, "seed": seed}
        planned.append(Planned(folder, f"{loss}, seed {seed}", changed, chosen[loss]))
    trained = runs.scores_of(planned)
    if trained is None:
        return False
    by_run = dict(zip(folders, trained, strict=True))
    scores = {loss: [by_run[seed, loss] for seed in seeds] for loss in losses}
    first = scores[losses[0]][0]
    rows = table(scores, [m for m in task.metric_names() if m in first])
    known = published_for(options.model_name_or_path or "", task.name, int(first.get("total", 0)))
    _write(output, task.name, known, rows, seeds)
    if "none" not in (options.report_to or ()):
        of_losses = {loss: [folders[seed, loss] for seed in seeds] for loss in losses}
        words = ["jaxbert", "compare", task.name, *options.as_words()]
        words += ["--losses", *losses, "--seeds", *map(str, seeds)]
        write_report(
            place_of(output),
            lambda: comparison_page(task.name, rows, of_losses, known, shlex.join(words)),
        )
    return True


def _folders(
    output: Path, losses: Sequence[str], seeds: Sequence[int]
) -> dict[tuple[int, str], Path]:
    """The folder of each run by seed and loss; seed after seed, so that the part of a table that is
    there first has every loss.

    Raises:
        InputError: two losses have one folder.
    """
    names = {loss: re.sub(r"[^\w.-]+", "_", loss).strip("_") for loss in losses}
    if len(set(names.values())) != len(names):
        raise InputError("--losses: two are the same but for spaces or signs")
    return {
        (seed, loss): output / names[loss] / f"seed_{seed}" for seed in seeds for loss in losses
    }


def split_args(loss: str) -> tuple[str, str | None]:
    """The name of a loss and its options.

    >>> split_args('focal{"gamma": 1}'), split_args("fgm")
    (('focal', '{"gamma": 1}'), ('fgm', None))
    """
    name, brace, rest = loss.partition("{")
    return name.strip(), brace + rest or None


def table(found: Mapping[str, Sequence[Scores]], metrics: Sequence[str]) -> list[Row]:
    """A row for each score and loss; `found` has the scores of every seed by loss."""
    first = next(iter(found))
    rows = []
    for metric in metrics:
        base = [number_of(scores, metric) for scores in found[first]]
        for loss, runs in found.items():
            values = [number_of(scores, metric) for scores in runs]
            differences = [b - a for a, b in zip(base, values, strict=True)]
            if loss == first:
                rows.append(Row(loss, metric, values, None, None))
                continue
            varies = len(values) > 1 and max(differences) - min(differences) > 1e-12
            p = float(ttest_rel(values, base).pvalue) if varies else None
            rows.append(Row(loss, metric, values, statistics.fmean(differences), p))
    return rows


def _write(
    folder: Path,
    task: str,
    known: Published | None,
    rows: Sequence[Row],
    seeds: Sequence[int],
) -> None:
    own = [{**row._asdict(), "mean": row.mean, "deviation": row.deviation} for row in rows]
    clean = [{n: None if x != x else x for n, x in row.items()} for row in own]  # JSON has no NaN
    record: dict[str, Json] = {"task": task, "seeds": seeds, "rows": clean}
    record["published"] = known._asdict() if known else None
    write_json(folder / "comparison.json", record)
    text = markdown(rows, len(seeds))
    if known:
        bands = ", ".join(f"{m} {a:g} to {b:g}" for m, (a, b) in known.scores.items())
        text += f"\nPublished for {known.model}: {bands} ({known.source}).\n"
    write_text(folder / "comparison.md", text)
    print(f"\n{text}")
    _draw(rows, folder / "comparison.png")


def markdown(rows: Sequence[Row], seeds: int) -> str:
    """The table as text that Markdown shows as a table."""
    lines = [
        "| score | loss | mean | std. dev. | n | difference | p |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        change = "" if row.difference is None else f"{row.difference:+.4g}"
        p = "" if row.p is None else f"{row.p:.3f}"
        deviation = f"{row.deviation:.2g}" if len(row.values) > 1 else ""
        cells = (row.metric, f"`{row.loss}`", f"{row.mean:.4g}", deviation, seeds)
        lines.append(f"| {' | '.join(map(str, (*cells, change, p)))} |")
    note = (
        "Difference and p: to the first loss, seed by seed (paired t-test, two-sided); with few "
        "seeds a small p of many is chance."
    )
    return "\n".join(lines) + f"\n\n{note}\n"


def _draw(rows: Sequence[Row], path: Path) -> None:
    """Every seed a point, the mean a line and its deviation a bar; a panel for each score."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    losses = list(dict.fromkeys(row.loss for row in rows))
    figure = new_figure(path.name, 4.5 * len(metrics), 1 + 0.45 * len(losses))
    if figure is None:
        return
    for number, metric in enumerate(metrics):
        axes = figure.add_subplot(1, len(metrics), number + 1)
        for row in (r for r in rows if r.metric == metric):
            place = losses.index(row.loss)
            axes.errorbar(
                row.mean, place, xerr=row.deviation, fmt="|", color="#3b6ea5", ms=14, capsize=4
            )
            axes.plot(row.values, [place] * len(row.values), "o", color="#c44e52", ms=4, alpha=0.7)
        axes.set_yticks(range(len(losses)), losses if number == 0 else [""] * len(losses))
        axes.invert_yaxis()
        axes.set_title(metric)
        axes.grid(axis="x", alpha=0.3)
    save_figure(figure, path)
