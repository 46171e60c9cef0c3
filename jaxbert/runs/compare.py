"""What train/compare.py calls: losses and parts of the data, several seeds each, and a table."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxbert.errors import InputError
from jaxbert.io.files import Json, write_json, write_text
from jaxbert.metrics.scores import LOSS, Scores
from jaxbert.options.fields import Value
from jaxbert.options.source_settings import Source
from jaxbert.runs.compared_examples import intervals_of
from jaxbert.runs.comparison_page import comparison_page
from jaxbert.runs.comparison_picture import draw_comparison, draw_learning_curve
from jaxbert.runs.comparison_table import Row, judged, markdown, parts_of, table
from jaxbert.runs.place import place_of
from jaxbert.runs.published import Published, published_for
from jaxbert.runs.record import RunRecord
from jaxbert.runs.run_report import write_report
from jaxbert.runs.run_set import Planned, RunSet
from jaxbert.tasks.registry import AnyTask


class _Cell(NamedTuple):
    """What runs of several seeds have in common: a loss, and a part of the training data."""

    loss: str
    fraction: float


def compare(
    runs: RunSet, losses: Sequence[str], seeds: Sequence[int], fractions: Sequence[float] = (1.0,)
) -> bool:
    """Train each loss on each part of the data with each seed, as far as that has not been done,
    and write the table.

    Runs are in the folder of the set, a folder for each; comparison.json, .md and .png and
    report.html beside them.

    Args:
        losses: names, FILE.py:FUNCTION, or either with its options behind: focal{"gamma": 1}.
        fractions: of the training data.

    Returns:
        Whether all is done; False when a signal stopped a run, and the same command resumes.

    Raises:
        InputError: something the user gave cannot be used.
    """
    for name, values in (("losses", losses), ("seeds", seeds), ("train_fractions", fractions)):
        if len(set(values)) != len(values):
            raise InputError(f"--{name}: one is there twice")
    if wrong := [fraction for fraction in fractions if not 0 < fraction <= 1]:
        raise InputError(f"--train_fractions {wrong[0]:g}: give parts above 0, up to 1")
    chosen = {loss: runs.choose_loss(*split_args(loss)) for loss in losses}
    output, task, options = runs.check(), runs.task, runs.options
    cells = [_Cell(loss, fraction) for fraction in sorted(fractions) for loss in losses]
    folders = _folders(output, cells)
    planned = [
        Planned(
            folders[cell] / f"seed_{seed}",
            f"{cell.loss}, {_says(cell.fraction)}seed {seed}",
            _changed(cell, seed),
            chosen[cell.loss],
        )
        for seed in seeds  # so that the part of a table that is there first has every loss
        for cell in cells
    ]
    trained = runs.scores_of(planned)
    if trained is None:
        return False
    found = {run.folder: scores for run, scores in zip(planned, trained, strict=True)}
    of_cells = {cell: [folders[cell] / f"seed_{seed}" for seed in seeds] for cell in cells}
    judging = task(options.part(task.settings_cls))
    rows = _rows(judging, options.validation_source(), of_cells, found, options.cache_dir)
    first = found[planned[0].folder]
    known = published_for(options.model_name_or_path or "", task.name, int(first.get("total", 0)))
    _write(output, task.name, known, rows, seeds)
    if "none" not in (options.report_to or ()):
        words = ["jaxbert", "compare", task.name, *options.as_words()]
        words += ["--losses", *losses, "--seeds", *map(str, seeds)]
        if list(fractions) != [1]:
            words += ["--train_fractions", *(f"{fraction:g}" for fraction in fractions)]
        named = {f"{c.loss}, {_says(c.fraction)}".rstrip(", "): of for c, of in of_cells.items()}
        write_report(
            place_of(output),
            lambda: comparison_page(task.name, rows, named, known, shlex.join(words)),
        )
    return True


def _changed(cell: _Cell, seed: int) -> dict[str, Value]:
    name, args = split_args(cell.loss)
    return {"loss": name, "loss_args": args, "train_fraction": cell.fraction, "seed": seed}


def _says(fraction: float) -> str:
    """A part of the data for the log, where it is not all of it."""
    return "" if fraction == 1 else f"{fraction:g} of the data, "


def _rows(
    task: AnyTask,
    source: Source,
    of_cells: Mapping[_Cell, Sequence[Path]],
    found: Mapping[Path, Scores],
    cache_dir: str | None,
) -> list[Row]:
    """The rows of the table, judged; the losses of each part of the data beside the first of it.

    Args:
        task: with the settings of the runs.
        source: of the validation data.
        of_cells: the folders of all seeds.
        found: the scores in each folder.
        cache_dir: where the examples are kept.
    """
    rows = []
    first = next(iter(found.values()))
    metrics = [name for name in task.metric_names() if name in first]
    for fraction in dict.fromkeys(cell.fraction for cell in of_cells):
        of_losses = {c.loss: of for c, of in of_cells.items() if c.fraction == fraction}
        scores = {loss: [found[folder] for folder in of] for loss, of in of_losses.items()}
        record = RunRecord.read(next(iter(of_losses.values()))[0])
        intervals = intervals_of(task, source, of_losses, cache_dir)
        examples = record.examples if record else None
        rows += table(scores, metrics, intervals, fraction, examples)
    lower = {m.name for m in task.metrics if m.lower_is_better}
    return judged(rows, {LOSS, *lower})


def _folders(output: Path, cells: Sequence[_Cell]) -> dict[_Cell, Path]:
    """Where the runs of each cell are; of all data where a comparison of losses alone has them.

    Raises:
        InputError: two losses have one folder.
    """
    losses = dict.fromkeys(cell.loss for cell in cells)
    names = {loss: re.sub(r"[^\w.-]+", "_", loss).strip("_") for loss in losses}
    if len(set(names.values())) != len(names):
        raise InputError("--losses: two are the same but for spaces or signs")
    return {
        cell: output / names[cell.loss] / ("" if cell.fraction == 1 else f"part_{cell.fraction:g}")
        for cell in cells
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
    if len(parts_of(rows)) > 1:
        draw_learning_curve(rows, folder / "learning_curve.png")
    else:
        draw_comparison(rows, folder / "comparison.png")
