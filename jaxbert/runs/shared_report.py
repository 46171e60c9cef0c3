"""The reports of a run of several tasks: of the training, and of each task's model."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping

from jaxbert.data.shared_batches import SharedBatches
from jaxbert.metrics.scores import LOSS, Metric, Scores
from jaxbert.runs.asked_tasks import Asked
from jaxbert.runs.folder import RunFolder
from jaxbert.runs.record import RunRecord
from jaxbert.runs.run_phases import rows_of, where_of
from jaxbert.runs.run_report import (
    Course,
    Evaluation,
    evaluation_page,
    machine_facts,
    training_page,
    write_report,
)
from jaxbert.runs.training_inputs import AnyInputs
from jaxbert.runtime import processes


def took_together(
    tasks: Mapping[str, AnyInputs], source: SharedBatches, total: int, shapes: int, seconds: float
) -> dict[str, str]:
    """What a training took, to be shown.

    Args:
        total: steps of the run.
        shapes: that were compiled.
    """
    found = {
        "steps": f"{total}, {source.steps_per_epoch} an epoch",
        "time": f"{seconds:.0f} s since this start",
        "shapes": f"{shapes} compiled",
        "devices": where_of(next(iter(tasks.values())).parallel),
    }
    shares = source.turns.shares
    for name, inputs in tasks.items():
        own = source.sources[name]
        found[name] = (
            f"{shares[name]} of {sum(shares.values())} steps, {len(inputs.examples)} examples in "
            f"{len(inputs.features)} windows, {rows_of(own)}, {100 * own.padding():.1f} % padding"
        )
    return found


def write_shared_reports(
    run: RunFolder,
    record: RunRecord,
    asked: Asked,
    tasks: Mapping[str, AnyInputs],
    course: Course,
    scores: Scores,
    of_tasks: Mapping[str, Scores],
) -> None:
    """report.html of the run and of each task with scores, by the first process, where wanted.

    Args:
        scores: of all tasks, under names of their own.
        of_tasks: those of each, under the task's names.
    """
    if not processes.is_first() or "none" in (asked.common.report_to or ()):
        return
    command = _command(asked)
    facts = machine_facts(record.versions, record.machine)
    for name, inputs in tasks.items():
        if inputs.validation is None:
            continue
        task = inputs.task.with_vocabulary(inputs.model.tokenizer)
        predictions = inputs.validation.predictions
        found = Evaluation(
            task.name,
            task.all_metrics(),
            of_tasks[name],
            functools.partial(task.findings, inputs.held_out or (), predictions, inputs.model.cfg),
        )
        took = {"training": course.took[name]}
        page = functools.partial(evaluation_page, found, took, command, facts)
        write_report(run.part(name).place, page)
    metrics = [Metric(LOSS, lower_is_better=True)]
    for name, inputs in tasks.items():
        metrics += [m._replace(name=f"{name}.{m.name}") for m in inputs.task.all_metrics()]
    whole = Evaluation(" and ".join(tasks), metrics, scores, lambda: None)
    write_report(run.place, lambda: training_page(run.path, whole, course, command, facts))


def _command(asked: Asked) -> str:
    """What repeats the run."""
    words = asked.as_words()
    if all(of.python_inputs.train is None for of in asked.tasks.values()):
        return shlex.join(["jaxbert", "train", "together", *words])
    return f"jaxbert.train_together(...) of a Python program, with {shlex.join(words)}"
