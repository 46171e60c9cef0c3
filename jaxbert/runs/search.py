"""What `jaxbert search` calls: trials of a few flags, each a run, judged on the validation data."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxbert.errors import InputError, NotFiniteError
from jaxbert.io.files import Json, write_json, write_text
from jaxbert.io.untrusted import read_object
from jaxbert.losses.choose import ChosenLoss
from jaxbert.metrics.scores import LOSS, Scores, number_of
from jaxbert.options.search_space import SearchedFlag, Tried, shown_values
from jaxbert.runs.folder import remove_run
from jaxbert.runs.place import place_of
from jaxbert.runs.plan import best_metrics
from jaxbert.runs.record import Request
from jaxbert.runs.run_files import CHECKPOINTS, METRICS, REPORT
from jaxbert.runs.run_report import write_report
from jaxbert.runs.run_set import Planned, RunSet, refuse_other, request_of
from jaxbert.runs.search_page import OPTIMISTIC, search_page, search_table
from jaxbert.runs.search_trials import JOURNAL, Trial, Trials
from jaxbert.training.choose_optimizer import choose_optimizer

logger = logging.getLogger("jaxbert")

WEIGHTS = "model.safetensors"


def search(runs: RunSet, space: Sequence[SearchedFlag], trials: int) -> bool:
    """Train trials of the flags up to their number, and write the table.

    Runs are in the folder of the set, with a journal of the trials, search.json, .md and
    report.html. Of the models that of the best trial is kept.

    Args:
        space: what differs from trial to trial.
        trials: how many there are to be, with those that are there.

    Returns:
        Whether all is done; False when a signal stopped a run, and the same command resumes.

    Raises:
        InputError: something the user gave cannot be used.
    """
    output, options = runs.check(), runs.options
    losses = _losses_of(runs, space)
    place = place_of(output)
    place.lock()
    try:
        if options.overwrite_output_dir:
            _remove(output)
            logger.info("a new search; it is resumed without --overwrite_output_dir")
            once = dataclasses.replace(options, overwrite_output_dir=False)
            runs = dataclasses.replace(runs, options=once)
        metrics = best_metrics([m.name for m in runs.task.metrics], options.metric_for_best_model)
        lower = {LOSS, *(m.name for m in runs.task.metrics if m.lower_is_better)}
        found = Trials(output, space, seed=options.seed, lower_is_better=metrics[0] in lower)
        _begin(found, output, runs, space, losses)
        if not _train(runs, found, losses, metrics, trials, output):
            return False
        best = found.best()
        if best is None:
            raise InputError(f"{output}: no trial has a score; search lower learning rates")
        scores = read_object(_folder(output, best) / METRICS)
        _write(runs, found, best, _metric_of(scores, metrics, output), output)
    finally:
        place.leave()
        _leave_nothing(output)
    return True


def _leave_nothing(output: Path) -> None:
    """Remove a folder in which no run has begun: the next command may have other flags or files."""
    if not any(output.glob("trial_*")):
        place_of(output).remove([JOURNAL, ".lock"])
        with contextlib.suppress(OSError):  # something of the user's is in it
            output.rmdir()


def _remove(output: Path) -> None:
    """The search that is there, and nothing else that may lie in the folder."""
    for folder in output.glob("trial_*"):
        remove_run(place_of(folder))
    place_of(output).remove([REPORT, "search.json", "search.md", JOURNAL])


def _losses_of(
    runs: RunSet, space: Sequence[SearchedFlag]
) -> Callable[[Mapping[str, Tried]], ChosenLoss]:
    """The loss of a trial; every one that there may be is looked at, and every optimizer.

    Raises:
        InputError: a value is none that the training takes.
    """
    known: dict[str, ChosenLoss] = {}

    def loss_of(values: Mapping[str, Tried]) -> ChosenLoss:
        name = str(values.get("loss", runs.options.loss))
        if name not in known:
            known[name] = runs.choose_loss(name, runs.options.loss_args)
        return known[name]

    loss_of({})
    for flag in space:
        for value in flag.ends:
            tried = runs.options_with({flag.name: value})
            loss_of({flag.name: value})
            choose_optimizer(tried.optim, **tried.rule())
    return loss_of


def _begin(
    found: Trials,
    output: Path,
    runs: RunSet,
    space: Sequence[SearchedFlag],
    losses: Callable[[Mapping[str, Tried]], ChosenLoss],
) -> None:
    """Keep what is searched, or refuse to continue a search of something else."""
    request = request_of(runs.options, losses({}))
    flags = json.loads(json.dumps({flag.name: dataclasses.asdict(flag) for flag in space}))
    sources = sorted({losses({f.name: v}).source for f in space for v in f.ends})
    if found.asked is None:
        asked = {**dataclasses.asdict(request), "flags": flags, "losses": sources}
        found.begin(asked)
        return
    before = Request.from_json(found.asked)
    assert before is not None
    different = before.differences(request, defaults=type(runs.options)().deciding())
    different += ["--search"] if found.asked.get("flags") != flags else []
    different += ["loss"] if found.asked.get("losses") != sources else []
    refuse_other(output, different)


def _train(
    runs: RunSet,
    found: Trials,
    losses: Callable[[Mapping[str, Tried]], ChosenLoss],
    metrics: Sequence[str],
    trials: int,
    output: Path,
) -> bool:
    """Train up to the number of trials; False when a signal stopped one."""
    for number in itertools.count(len(found.done())):
        if number >= trials:
            return True
        trial = found.next()
        says = f"trial {number + 1} of {trials}: {shown_values(trial.values)}"
        alike = next((t for t in found.done() if t.values == trial.values), None)
        if alike is not None:
            logger.info("%s, as trial %d", says, alike.number + 1)
            found.fail(alike.failed) if alike.score is None else found.tell(alike.score)
            continue
        planned = Planned(_folder(output, trial), says, trial.values, losses(trial.values))
        try:
            scores = runs.scores_of([planned])
        except NotFiniteError as error:
            logger.warning("trial %d has no score: %s", number + 1, str(error).partition("; ")[0])
            found.fail("not finite")
            continue
        if scores is None:
            return False
        found.tell(number_of(scores[0], _metric_of(scores[0], metrics, output)))
        _tidy(output, found)
    return True


def _folder(output: Path, trial: Trial) -> Path:
    return output / f"trial_{trial.number + 1}"


def _tidy(output: Path, found: Trials) -> None:
    """Remove the checkpoints of trials that are done, and the models of all but the best."""
    best = found.best()
    for trial in found.done():
        names = [CHECKPOINTS] if trial == best else [CHECKPOINTS, WEIGHTS]
        place_of(_folder(output, trial)).remove(names)


def _metric_of(scores: Scores, metrics: Sequence[str], output: Path) -> str:
    """The score that trials are judged by: the first that there is."""
    name = next((name for name in metrics if name in scores), None)
    if name is None:
        raise InputError(f"{output}: the trials have no {' or '.join(metrics)}")
    return name


def _write(runs: RunSet, found: Trials, best: Trial, metric: str, output: Path) -> None:
    """search.json, .md and report.html, and the command that trains the best trial."""
    trials = found.done()
    common = runs.options_with({"output_dir": f"{output}_best"}).as_words()
    flags = [word for name, value in best.values.items() for word in (f"--{name}", str(value))]
    command = shlex.join(["jaxbert", "train", runs.task.name, *common, *flags])
    record: dict[str, Json] = {
        "task": runs.task.name,
        "metric": metric,
        "best": best.number + 1,
        "command": command,
        "trials": [{**dataclasses.asdict(t), "number": t.number + 1} for t in trials],
    }
    write_json(output / "search.json", record)
    table = search_table(trials, metric, best, lower_is_better=found.lower_is_better)
    lines = [f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in table.rows]
    text = "\n".join(lines) + f"\n\n{OPTIMISTIC}\n\n{command}\n"
    write_text(output / "search.md", text)
    print(f"\n{text}")
    if "none" not in (runs.options.report_to or ()):
        write_report(
            place_of(output),
            lambda: search_page(runs.task.name, table, trials, metric, command),
        )
