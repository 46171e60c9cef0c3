"""The report of a training, from its inputs and what it gave."""

from __future__ import annotations

import functools

import jax

from jaxbert.data.batch_source import BatchSource
from jaxbert.metrics.scores import Scores
from jaxbert.runs.folder import RunFolder
from jaxbert.runs.run_report import (
    Course,
    Evaluation,
    command_of,
    machine_facts,
    training_page,
    write_report,
)
from jaxbert.runs.training_inputs import Inputs
from jaxbert.runtime import processes
from jaxbert.tasks.task import E, P, S


def took(
    inputs: Inputs[S, E, P], source: BatchSource, total: int, shapes: int, seconds: float
) -> dict[str, str]:
    """What a training took, to be shown.

    Args:
        total: steps of the run.
        shapes: that were compiled.
    """
    devices = inputs.parallel.devices
    return {
        "examples": f"{len(inputs.examples)}, in {len(inputs.features)} windows",
        "held out": "none" if inputs.held_out is None else str(len(inputs.held_out)),
        "steps": f"{total}, {source.steps_per_epoch} an epoch",
        "time": f"{seconds:.0f} s since this start",
        "rows": f"{source.rows} a step, of {' '.join(map(str, source.row_lengths))} tokens",
        "padding": f"{100 * source.padding():.1f} % of the tokens",
        "shapes": f"{shapes} compiled",
        "devices": f"{devices} ({jax.default_backend()}, {inputs.parallel.name})",
    }


def write_training_report(
    run: RunFolder, inputs: Inputs[S, E, P], course: Course, scores: Scores
) -> None:
    """report.html, by the first process, where it is wanted."""
    record, validation = inputs.record, inputs.validation
    settings, told = record.settings, record.options.get("report_to")
    if not processes.is_first() or settings is None:
        return
    if isinstance(told, list) and "none" in told:
        return
    task = inputs.task.with_vocabulary(inputs.model.tokenizer)
    examples = inputs.held_out or ()
    predictions = validation.predictions if validation is not None else ()
    found = Evaluation(
        task.name,
        task.all_metrics(),
        scores,
        functools.partial(task.findings, examples, predictions, inputs.model.cfg),
    )
    in_python = not settings.inputs().keys() & {"train_file", "dataset_name"}
    command = command_of("train", task.name, settings.as_words(), in_python=in_python)
    facts = machine_facts(record.versions, record.machine)
    write_report(run.place, lambda: training_page(run.path, found, course, command, facts))
