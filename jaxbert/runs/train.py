"""train(task_cls, options): a run in four phases: its inputs, its program, its folder, the fit."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence

import jax

from jaxbert.callbacks.reports import check_reports, make_reports
from jaxbert.data.batch_source import BatchSource
from jaxbert.errors import InputError
from jaxbert.losses.choose import choose_loss
from jaxbert.metrics.scores import Scores
from jaxbert.options.fields import settings_of
from jaxbert.options.settings import TrainingOptions
from jaxbert.runs.adapter import check_lora
from jaxbert.runs.folder import RunFolder
from jaxbert.runs.plan import best_metrics, make_plan
from jaxbert.runs.record import Request, RunRecord
from jaxbert.runs.run_phases import (
    Counted,
    Prepared,
    fit_to_end,
    notify_of,
    open_folder,
    result_of,
    rows_of,
    where_of,
)
from jaxbert.runs.run_report import Course
from jaxbert.runs.run_step import make_rule, make_step, run_key
from jaxbert.runs.saved import name_of
from jaxbert.runs.task_phases import learned_by, write_task
from jaxbert.runs.training_inputs import (
    Inputs,
    PythonInputs,
    read_data,
    read_inputs,
)
from jaxbert.runs.training_report import took, write_training_report
from jaxbert.runtime import processes
from jaxbert.runtime.compiled import keep_compiled
from jaxbert.sharing.hub import Repository
from jaxbert.tasks.task import E, P, S, Task
from jaxbert.training.choose_optimizer import ChosenOptimizer, choose_optimizer, try_optimizer
from jaxbert.training.events import Finished, Notify
from jaxbert.training.loop import Program
from jaxbert.training.progress import Plan
from jaxbert.training.step import TrainState, init_state
from jaxbert.training.traced_steps import steps_of

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class Trained:
    """The end of train(): done is False when a signal stopped the run, which is saved.

    Attributes:
        evaluations: one record an evaluation, with those of before the run was resumed.
    """

    state: TrainState
    scores: Scores
    done: bool
    evaluations: Sequence[Mapping[str, float | str]]


_NOTHING = PythonInputs()


def train(
    task_cls: type[Task[S, E, P]],
    options: TrainingOptions,
    request: Request | None = None,
    callbacks: Sequence[Notify] = (),
    python_inputs: PythonInputs = _NOTHING,
) -> Trained:
    """Fine-tune, or resume the run in options.output_dir; writes all results there.

    Args:
        request: what a comparison asks for, for the record of the run.
        callbacks: called with each event of the run, in the first process alone.
        python_inputs: of what the options name.

    Raises:
        InputError: something the user gave cannot be used; nothing has been written.
    """
    check_reports(options.report_to)
    if not options.output_dir:
        raise InputError("give --output_dir, the folder for the results")
    traced = steps_of(options.profile_steps) if options.profile_steps else range(0)
    known = [setting.name for setting in settings_of(type(options))]
    check_allowed(options.allow_changed_options or (), known)
    task = task_cls(options.part(task_cls.settings_cls))
    check_packs(task, packing=options.packing)
    added = [m.name for m in python_inputs.metrics]
    check_metric(options.metric_for_best_model, (*task_cls.metric_names(), *added))
    loss = choose_loss(task_cls.losses, **options.loss_choice(), given=python_inputs.loss)
    optimizer = choose_optimizer(options.optim, given=python_inputs.optim, **options.rule())
    check_lora(options.lora())
    processes.join(options.coordinator_address, options.num_processes, options.process_id)
    processes.check_alike("options", options.deciding())
    repository = _repository(options.output_dir, **options.upload())
    keep_compiled(options.compilation_cache_dir)
    with RunFolder.open(**options.folder(), writes=processes.is_first()) as run:
        notify = notify_of(callbacks, make_reports(options.report_to, run.path))
        read = read_data(task, python_inputs, **options.data())
        record = RunRecord.of(
            task_cls.name,
            options.with_values(vars(read.task.settings)),
            loss=loss.source,
            loss_values=loss.values,
            functions={**python_inputs.functions(), **optimizer.recorded()},
            job=processes.job(),
            request=request,
        )
        previous = run.find(record, teachers=[loss.args.get("teacher")])
        inputs = read_inputs(
            *(read, options, loss, optimizer, record, previous, python_inputs),
            metric=options.metric_for_best_model,
            freeze=options.freeze or (),
        )
        plan = make_plan(
            steps_per_epoch=inputs.sampler.steps_per_epoch,
            metrics=task_cls.metrics,
            added=python_inputs.scores(),
            **options.plan(),
        )
        run.check(inputs.record, user_loss=loss.user_defined)
        prepared = _make_program(inputs, plan.total, optimizer, options)
        trained = _learn(run, inputs, plan, prepared, notify, traced)
        run.push(repository if trained.done else None)
    notify(Finished(int(trained.state.step), trained.scores, trained.done))
    return trained


def _repository(
    output_dir: str, *, push: bool, name: str | None, private: bool
) -> Repository | None:
    """Where the model is to be uploaded, asked of the Hub before anything is trained.

    Raises:
        InputError: it cannot be uploaded there.
    """
    if not push:
        if name is not None or private:
            given = "--hub_model_id" if name is not None else "--hub_private_repo"
            raise InputError(f"{given} is of an upload; give --push_to_hub too, or leave it out")
        return None

    def ask() -> str:
        own = name_of(output_dir)
        return Repository.open(name, own, private=private, flag="--push_to_hub").name

    return Repository(processes.from_first(ask), private)


def check_allowed(allowed: Collection[str], known: Collection[str]) -> None:
    """Refuse to allow changes of what is no option."""
    unknown = set(allowed) - set(known) - {"metrics", "corruption"}
    if unknown:
        raise InputError(f"--allow_changed_options {' '.join(sorted(unknown))}: no such option")


def check_packs(task: Task[S, E, P], *, packing: bool) -> None:
    """Refuse to pack rows that have several texts or windows each, before any file is read."""
    if packing and not task.packs:
        raise InputError(f"--packing is not for {task.name}, whose rows have several texts already")
    if packing and task.weighs_windows:
        raise InputError(
            "--packing is not for --window_pooling attention, whose rows have several windows "
            "already"
        )


def check_metric(metric: str | None, known: Sequence[str]) -> None:
    """Refuse a score that no evaluation has, before any file is read.

    Args:
        metric: --metric_for_best_model.
        known: the names of scores.
    """
    if other := set(best_metrics(known, metric)) - set(known):
        raise InputError(f"--metric_for_best_model {' '.join(other)}: give {', '.join(known)}")


# --- program ----------------------------------------------------------------------------------


def _make_program(
    inputs: Inputs[S, E, P], total: int, optimizer: ChosenOptimizer, options: TrainingOptions
) -> Prepared[BatchSource]:
    """Batches, loss, optimizer and step, the loss tried on a batch.

    Args:
        total: steps of the run.
    """
    parallel = inputs.parallel
    schedule, tx = make_rule(optimizer, total, options.schedule(), options.optimizer())
    try_optimizer(optimizer, tx, inputs.model.params)
    source, params = learned_by(inputs, **options.learning())
    step = Counted(
        make_step(
            inputs.task,
            inputs.model,
            inputs.loss,
            tx,
            inputs.window_lengths,
            **options.step(inputs.accumulation),
        )
    )
    program = Program(parallel.compile_train(step), run_key(options.seed), schedule, parallel)
    return Prepared(source, program, step, jax.device_get(init_state(params, tx, options.dtype)))


# --- folder, fit and results ------------------------------------------------------------------


def _learn(
    run: RunFolder,
    inputs: Inputs[S, E, P],
    plan: Plan,
    prepared: Prepared[BatchSource],
    notify: Notify,
    traced: range,
) -> Trained:
    """Train to the end of the plan, then write the model and its results.

    Args:
        traced: the steps to be traced.
    """
    state, progress = open_folder(run, inputs.record, plan, prepared.state)
    source = prepared.source
    logger.info("%d steps of %s on %s", plan.total, rows_of(source), where_of(inputs.parallel))
    if source.accumulation > 1:
        logger.info("  each in %d micro-batches", source.accumulation)
    logger.info("  %.1f %% of the tokens are padding", 100 * source.padding())
    fitted = fit_to_end(run, prepared, plan, state, progress, inputs.validation, notify, traced)
    if not fitted.done:
        return Trained(fitted.state, {}, False, progress.evaluations)
    params, step = result_of(run, plan, fitted.state, progress)
    run.close()
    scores = write_task(run, inputs, params, step)
    logger.info("model and results in %s", run.place)
    effort = took(inputs, source, plan.total, fitted.shapes, fitted.seconds)
    write_training_report(run, inputs, Course(progress.evaluations, step, effort), scores)
    return Trained(fitted.state, scores, True, progress.evaluations)
