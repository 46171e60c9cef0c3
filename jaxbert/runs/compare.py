"""What train/compare.py calls: several losses with several seeds each, and whether they differ."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from jaxbert.errors import InputError
from jaxbert.io.files import Json, write_json, write_text
from jaxbert.metrics.scores import LOSS
from jaxbert.options.fields import Value
from jaxbert.runs.compared_examples import intervals_of
from jaxbert.runs.comparison_page import comparison_page
from jaxbert.runs.comparison_picture import draw_comparison
from jaxbert.runs.comparison_table import Row, markdown, table
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
    of_losses = {loss: [folders[seed, loss] for seed in seeds] for loss in losses}
    judging = task(options.part(task.settings_cls))
    rows = table(
        scores,
        [m for m in task.metric_names() if m in first],
        intervals_of(judging, options.validation_source(), of_losses),
        {LOSS, *(m.name for m in task.metrics if m.lower_is_better)},
    )
    known = published_for(options.model_name_or_path or "", task.name, int(first.get("total", 0)))
    _write(output, task.name, known, rows, seeds)
    if "none" not in (options.report_to or ()):
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


def _write(
    folder: Path,
    task: str,
    known: Published | None,
    rows: Sequence[Row],
    seeds: Sequence[int],
) -> None:
    """comparison.json, .md and .png."""
    record: dict[str, Json] = {"task": task, "seeds": seeds, "rows": [r.to_json() for r in rows]}
    record["published"] = known._asdict() if known else None
    write_json(folder / "comparison.json", record)
    text = markdown(rows)
    if known:
        bands = ", ".join(f"{m} {a:g} to {b:g}" for m, (a, b) in known.scores.items())
        text += f"\nPublished for {known.model}: {bands} ({known.source}).\n"
    write_text(folder / "comparison.md", text)
    print(f"\n{text}")
    draw_comparison(rows, folder / "comparison.png")
