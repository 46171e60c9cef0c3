"""What train/compare.py calls: several losses with several seeds each, and whether they differ."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from scipy.stats import ttest_rel

from jaxbert.errors import InputError
from jaxbert.io.drawing import new_figure, save_figure
from jaxbert.io.files import Json, digest_of, write_json, write_text
from jaxbert.io.untrusted import read_object
from jaxbert.losses.choose import choose_loss
from jaxbert.metrics.scores import Scores, number_of
from jaxbert.options.fields import Value
from jaxbert.options.settings import TrainingOptions
from jaxbert.runs.place import check_writable
from jaxbert.runs.published import Published, published_for
from jaxbert.runs.record import Request, RunRecord
from jaxbert.runs.run_files import COMPARED
from jaxbert.runs.train import Trained, train
from jaxbert.runtime.processes import launched
from jaxbert.tasks.registry import AnyTask

logger = logging.getLogger("jaxbert")

# Trains one run, for the record of which it has what the run is asked for.
TrainOne = Callable[[type[AnyTask], TrainingOptions, Request], Trained]

# What names a data set. What it holds is not looked at, unlike what files do.
_OF_DATA_SETS = ("dataset_name", "dataset_config_name", "validation_split")
# Options that name files or folders.
_NAMING_FILES = (
    *("train_file", "validation_file", "dataset_name"),
    *("model_name_or_path", "config_name", "tokenizer_name"),
)


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


def compare(
    task: type[AnyTask],
    options: TrainingOptions,
    losses: Sequence[str],
    seeds: Sequence[int],
    train_one: TrainOne = train,
) -> bool:
    """Train each loss with each seed, as far as that has not been done, and write the table.

    Runs are in options.output_dir, a folder for each loss and seed; comparison.json, .md and .png
    beside them.

    Args:
        options: of the task's training; loss, loss_args and seed are filled in.
        losses: names, FILE.py:FUNCTION, or either with its options behind: focal{"gamma": 1}.
        train_one: trains a run and writes its record and scores, as `train` does.

    Returns:
        Whether all is done; False when a signal stopped a run, and the same command resumes.

    Raises:
        InputError: something the user gave cannot be used.
    """
    if not options.output_dir:
        raise InputError("give --output_dir, the folder for the runs and the table")
    if not (options.validation_file or options.dataset_name):
        raise InputError("give --validation_file, what the losses are compared on")
    for name, values in (("losses", losses), ("seeds", seeds)):
        if len(set(values)) != len(values):
            raise InputError(f"--{name}: one is there twice")
    if options.num_processes or launched():
        raise InputError("train/compare.py is one process; start train/ for runs of several")
    chosen = {loss: choose_loss(task.losses, *split_args(loss)) for loss in losses}
    options.check_on_this_machine("jaxbert compare")
    if options.push_to_hub:
        raise InputError("--push_to_hub: several models are compared; `jaxbert push` uploads one")
    output = Path(options.output_dir).expanduser()
    runs = _folders(output, losses, seeds)
    check_writable(output)
    scores: dict[str, list[Scores]] = {loss: [] for loss in losses}
    for index, ((seed, loss), folder) in enumerate(runs.items()):
        logger.info("run %d of %d: %s, seed %d", index + 1, len(runs), loss, seed)
        name, args = split_args(loss)
        run_options = dataclasses.replace(
            options, loss=name, loss_args=args, seed=seed, output_dir=str(folder)
        )
        inputs = options.inputs()
        deciding = run_options.deciding() | {name: getattr(options, name) for name in _OF_DATA_SETS}
        teacher = chosen[loss].args.get("teacher")
        request = Request(json.loads(json.dumps(deciding)), _digests(inputs, teacher))
        record = None if options.overwrite_output_dir else _record_of(folder)
        if record is not None and record.void:
            run_options = dataclasses.replace(run_options, overwrite_output_dir=True)
        elif record is not None and record.request is not None:
            different = ["loss"] if record.loss != chosen[loss].source else []
            different += record.request.differences(request, defaults=type(options)().deciding())
            _refuse(folder, different)
            if (folder / "metrics.json").exists():
                logger.info("done before")
                scores[loss].append(_checked(folder, read_object(folder / "metrics.json")))
                continue
        trained = train_one(task, run_options, request)
        if trained.done:
            _check_loss(folder, name, chosen[loss].source)
        if index == 0 and options.overwrite_output_dir:  # what was given is known to be right
            _void(list(runs.values())[1:])
        if not trained.done:
            return False
        scores[loss].append(_checked(folder, trained.scores))
        jax.clear_caches()  # compiled programs of a run that is over
    first = scores[losses[0]][0]
    rows = table(scores, [m for m in task.metric_names() if m in first])
    known = published_for(options.model_name_or_path or "", task.name, int(first.get("total", 0)))
    _write(output, task.name, known, rows, seeds)
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


def _digests(inputs: Mapping[str, Value], teacher: Json) -> dict[str, str]:
    """SHA-256 of the files of a run's inputs, and of those in the folders that they name.

    Args:
        inputs: the settings that name a model or data, by name.
        teacher: the folder of the loss's teacher, if it has one.
    """
    names = [teacher] if isinstance(teacher, str) else []
    for value in (inputs.get(name) for name in _NAMING_FILES):
        names += value if isinstance(value, list) else [str(value)] if value else []
    files = {}
    for name in names:
        path = Path(name).expanduser()
        inside = path.rglob("*") if name == inputs.get("dataset_name") else path.glob("*")
        for file in sorted(inside) if path.is_dir() else [path]:
            if file.is_file():  # not a name on the Hub
                files[str(file)] = digest_of(file)
    return files


def split_args(loss: str) -> tuple[str, str | None]:
    """The name of a loss and its options.

    >>> split_args('focal{"gamma": 1}'), split_args("fgm")
    (('focal', '{"gamma": 1}'), ('fgm', None))
    """
    name, brace, rest = loss.partition("{")
    return name.strip(), brace + rest or None


def _refuse(folder: Path, different: Sequence[str]) -> None:
    """Refuse a run that is there, where it is of other options, files or of another loss."""
    if different:
        named = ", ".join(different[:4]) + ", ..." * (len(different) > 4)
        raise InputError(
            f"{folder} has a run of another {named}; "
            "give another --output_dir, or --overwrite_output_dir to train all of them again"
        )


def _checked(folder: Path, scores: Scores) -> Scores:
    """The scores of a run, which must have some."""
    if not scores:
        raise InputError(f"{folder}: the run has no scores; is there validation data?")
    return scores


def _check_loss(folder: Path, name: str, source: str) -> None:
    """Refuse a run that was trained by another text of the loss than was read at the beginning."""
    (folder / COMPARED).unlink(missing_ok=True)
    record = RunRecord.read(folder)
    if record is None or record.loss != source:
        raise InputError(
            f"{folder}: the file of --losses {name} has changed while losses were compared; "
            "remove this folder, and start the command again"
        )


def _record_of(folder: Path) -> RunRecord | None:
    """The record of the run in a folder; of one that an earlier version compared, with what that
    kept in a file of its own."""
    record = RunRecord.read(folder)
    path = folder / COMPARED
    if record is None or record.request is not None or not path.exists():
        return record
    former = read_object(path)
    void = former.get("void") is True
    return dataclasses.replace(
        record, request=None if void else Request.from_json(former), void=void
    )


def _void(folders: Sequence[Path]) -> None:
    """Have these runs trained from the start, by a later command too that has no
    --overwrite_output_dir."""
    for folder in folders:
        # A record that cannot be read is refused without that flag, too.
        with contextlib.suppress(InputError):
            record = RunRecord.read(folder)
            if record is not None:
                dataclasses.replace(record, void=True).write(folder)


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
