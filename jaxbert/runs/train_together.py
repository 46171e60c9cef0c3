"""train_together(asked): a run of several tasks on one encoder, in the phases of runs.train."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

import jax

from jaxbert.callbacks.reports import check_reports, make_reports
from jaxbert.data.shared_batches import SharedBatches, whole_cycles
from jaxbert.errors import InputError
from jaxbert.loaded.shared_encoder import SharedEncoder
from jaxbert.losses.choose import ChosenLoss, choose_loss
from jaxbert.metrics.scores import LOSS, Metric, Scores
from jaxbert.model.heads import Params
from jaxbert.options.together_settings import OF_TASKS, REFUSED
from jaxbert.options.user_function import UserFunction
from jaxbert.runs.asked_tasks import Asked
from jaxbert.runs.folder import RunFolder
from jaxbert.runs.plan import make_plan
from jaxbert.runs.record import RunRecord
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
from jaxbert.runs.run_step import learned_of, make_rule, make_shared_step, run_key
from jaxbert.runs.shared_report import took_together, write_shared_reports
from jaxbert.runs.shared_validation import SharedValidation, joined_scores
from jaxbert.runs.task_phases import learned_by, write_task
from jaxbert.runs.train import Trained, check_allowed, check_metric, check_packs
from jaxbert.runs.training_inputs import AnyInputs, check_freeze, read_data, read_inputs
from jaxbert.runtime import processes
from jaxbert.runtime.compiled import keep_compiled
from jaxbert.sharing.card import Part
from jaxbert.training.choose_optimizer import ChosenOptimizer, choose_optimizer, try_optimizer
from jaxbert.training.events import Finished, Notify
from jaxbert.training.loop import Program
from jaxbert.training.progress import Plan
from jaxbert.training.step import init_state
from jaxbert.training.traced_steps import steps_of

logger = logging.getLogger("jaxbert")

TOGETHER = "together"  # what a record has for the name of a task


def train_together(
    asked: Asked, callbacks: Sequence[Notify] = (), optim: UserFunction | None = None
) -> Trained:
    """Train several tasks on one encoder, or resume the run in output_dir; writes all results
    there, the model of each task to a folder of its name.

    Args:
        callbacks: called with each event of the run, in the first process alone.
        optim: a function in place of the optimizer that the options name.

    Raises:
        InputError: something the user gave cannot be used; nothing has been written.
    """
    common = asked.common
    check_reports(common.report_to)
    if not common.output_dir:
        raise InputError("give --output_dir, the folder for the results")
    traced = steps_of(common.profile_steps) if common.profile_steps else range(0)
    losses = _check(asked)
    optimizer = choose_optimizer(common.optim, given=optim, **common.rule())
    processes.join(common.coordinator_address, common.num_processes, common.process_id)
    processes.check_alike("options", asked.deciding())
    keep_compiled(common.compilation_cache_dir)
    with RunFolder.open(
        **common.folder(), writes=processes.is_first(), parts=list(asked.tasks)
    ) as run:
        notify = notify_of(callbacks, make_reports(common.report_to, run.path))
        record, tasks = _read(asked, losses, optimizer, run)
        plan = make_plan(
            steps_per_epoch=whole_cycles(
                {name: inputs.sampler.steps_per_epoch for name, inputs in tasks.items()},
                asked.turns,
            ),
            metrics=_metrics(asked),
            added=_added(asked),
            judged_by=[LOSS],
            **common.plan(),
        )
        shared, prepared = _make_program(asked, tasks, plan.total, optimizer)
        trained = _learn(run, record, asked, tasks, shared, plan, prepared, notify, traced)
    notify(Finished(int(trained.state.step), trained.scores, trained.done))
    return trained


# --- before anything is read ------------------------------------------------------------------


def _check(asked: Asked) -> dict[str, ChosenLoss]:
    """The loss of each task; what the tasks do not have is refused."""
    common, losses = asked.common, {}
    check_allowed(common.allow_changed_options or (), asked.allowable())
    for name, of in asked.tasks.items():
        task = of.task(of.options.part(of.task.settings_cls))
        check_packs(task, packing=common.packing)
        try:
            losses[name] = choose_loss(
                of.task.losses, **of.options.loss_choice(), given=of.python_inputs.loss
            )
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    known = [LOSS, *(m.name for m in (*_metrics(asked), *_added(asked)))]
    check_metric(common.metric_for_best_model, known)
    return losses


def _metrics(asked: Asked) -> list[Metric]:
    """The scores of all tasks, under names of their own."""
    return [
        m._replace(name=f"{name}.{m.name}")
        for name, of in asked.tasks.items()
        for m in of.task.metrics
    ]


def _added(asked: Asked) -> list[Metric]:
    """Those that an evaluation leaves out where they are not finite."""
    return [
        m._replace(name=f"{name}.{m.name}")
        for name, of in asked.tasks.items()
        for m in (Metric(LOSS, lower_is_better=True), *of.python_inputs.scores())
    ]


def _metric_of(name: str, metric: str | None) -> str | None:
    """--metric_for_best_model as a task knows it, where it is a score of it."""
    plain = (metric or "").removeprefix("eval_")
    if plain == LOSS.removeprefix("eval_"):
        return LOSS
    return plain.removeprefix(f"{name}.") if plain.startswith(f"{name}.") else None


# --- inputs -----------------------------------------------------------------------------------


def _read(
    asked: Asked, losses: Mapping[str, ChosenLoss], optimizer: ChosenOptimizer, run: RunFolder
) -> tuple[RunRecord, dict[str, AnyInputs]]:
    """The record of the run, and what it learns each task from, compared with the run that is
    resumed, if there is one."""
    common, metric = asked.common, asked.common.metric_for_best_model
    read, parts = {}, {}
    for name, of in asked.tasks.items():
        logger.info("%s:", name)
        task = of.task(of.options.part(of.task.settings_cls))
        data = of.options.data()
        data["needed_by"] = ()  # one task with validation data is enough; see below
        read[name] = read_data(task, of.python_inputs, **data)
        part = RunRecord.of(
            of.task.name,
            of.options.with_values(vars(read[name].task.settings)),
            loss=losses[name].source,
            loss_values=losses[name].values,
            functions=of.python_inputs.functions(),
        )
        parts[name] = dataclasses.replace(part, versions={}, machine={})  # the run's are theirs
    held_out = [name for name, examples in read.items() if examples.held_out is not None]
    _check_held_out(common.comparing_models, metric, list(read), held_out)
    whole = RunRecord.of(TOGETHER, common, functions=optimizer.recorded(), job=processes.job())
    kept = {n: x for n, x in whole.options.items() if n not in OF_TASKS and n not in REFUSED}
    whole = dataclasses.replace(whole, options=kept, parts=parts)
    previous = run.find(whole, teachers=[loss.args.get("teacher") for loss in losses.values()])
    tasks: dict[str, AnyInputs] = {}
    for name, of in asked.tasks.items():
        logger.info("%s:", name)
        before = previous.parts.get(name) if previous else None
        tasks[name] = read_inputs(
            read[name],
            *(of.options, losses[name], optimizer, parts[name], before, of.python_inputs),
            metric=_metric_of(name, metric),
            freeze=(),
        )
    whole = dataclasses.replace(whole, parts={name: of.record for name, of in tasks.items()})
    run.check(whole, user_loss=False)
    for name, part in whole.parts.items():
        run.check(part, user_loss=losses[name].user_defined, part=name)
    return whole, tasks


def _check_held_out(
    comparing: Sequence[str], metric: str | None, names: Sequence[str], held_out: Sequence[str]
) -> None:
    """Refuse to tell which model is better without the data that tell it.

    Args:
        comparing: the options that ask for it.
        names: of all tasks.
        held_out: those with validation data.
    """
    own = [name for name in names if _metric_of(name, metric) not in (None, LOSS)]
    if comparing and not set(own or names) & set(held_out):
        raise InputError(
            f"--{comparing[0]} needs validation data to tell what is better; give "
            f"--{(own or names)[0]}.validation_file"
        )


# --- program ----------------------------------------------------------------------------------


def _make_program(
    asked: Asked, tasks: Mapping[str, AnyInputs], total: int, optimizer: ChosenOptimizer
) -> tuple[SharedEncoder, Prepared[SharedBatches]]:
    """Batches, losses, optimizer and the one step of all tasks, each loss tried on a batch.

    Args:
        total: steps of the run.
    """
    common, parallel = asked.common, next(iter(tasks.values())).parallel
    sources, params, learned = {}, {}, {}
    step_options = common.step()
    for name, inputs in tasks.items():
        logger.info("%s:", name)
        sources[name], params[name] = learned_by(inputs, **asked.tasks[name].options.learning())
        learned[name] = learned_of(
            *(inputs.task, inputs.model, inputs.loss, inputs.window_lengths),
            remat=step_options["remat"],
            scan=step_options["scan"],
        )
    shared = SharedEncoder({name: of.model for name, of in tasks.items()}, params)
    check_freeze(shared.params, common.freeze or ())
    schedule, tx = make_rule(optimizer, total, common.schedule(), common.optimizer())
    try_optimizer(optimizer, tx, shared.params)
    (accumulation,) = {inputs.accumulation for inputs in tasks.values()}
    step = Counted(
        make_shared_step(
            *(learned, shared, tx, parallel),
            accumulate=accumulation,
            frozen=common.frozen,
            unfreeze_step=common.unfreeze_step,
        )
    )
    program = Program(parallel.compile_train(step), run_key(common.seed), schedule, parallel)
    state = jax.device_get(init_state(shared.params, tx, common.dtype))
    return shared, Prepared(SharedBatches(sources, asked.turns), program, step, state)


# --- folder, fit and results ------------------------------------------------------------------


def _learn(
    run: RunFolder,
    record: RunRecord,
    asked: Asked,
    tasks: Mapping[str, AnyInputs],
    shared: SharedEncoder,
    plan: Plan,
    prepared: Prepared[SharedBatches],
    notify: Notify,
    traced: range,
) -> Trained:
    """Train to the end of the plan, then write the models and their results.

    Args:
        traced: the steps to be traced.
    """
    state, progress = open_folder(run, record, plan, prepared.state)
    shares, source = asked.turns.shares, prepared.source
    logger.info("%d steps on %s", plan.total, where_of(prepared.program.parallel))
    for name, own in source.sources.items():
        logger.info(
            "  %s: %d of %d steps, %s in %d micro-batch%s; %.1f %% of the tokens are padding",
            *(name, shares[name], sum(shares.values()), rows_of(own), own.accumulation),
            *("es" * (own.accumulation > 1), 100 * own.padding()),
        )
    validation = None
    if any(inputs.validation is not None for inputs in tasks.values()):
        validation = SharedValidation(tasks, shared, shares)
    fitted = fit_to_end(run, prepared, plan, state, progress, validation, notify, traced)
    if not fitted.done:
        return Trained(fitted.state, {}, False, progress.evaluations)
    params, step = result_of(run, plan, fitted.state, progress)
    run.close()
    if validation is not None and not validation.is_of(step):
        validation(prepared.program.parallel.replicate(params), step)
    found = _write(run, record, tasks, shared, params, step)
    scores = joined_scores(found, shares)
    run.write_results(scores, {})
    places = ", ".join(str(run.place.named(name)) for name in tasks)
    logger.info("models in %s, results in %s", places, run.place)
    effort = took_together(tasks, source, plan.total, fitted.shapes, fitted.seconds)
    course = Course(progress.evaluations, step, effort)
    write_shared_reports(run, record, asked, tasks, course, scores, found)
    return Trained(fitted.state, scores, True, progress.evaluations)


def _write(
    run: RunFolder,
    record: RunRecord,
    tasks: Mapping[str, AnyInputs],
    shared: SharedEncoder,
    params: Params,
    step: int,
) -> dict[str, Scores]:
    """The model of each task in its folder, with its results and its record; returns the scores.

    Args:
        params: of all, on the host.
        step: that they are of.
    """
    found: dict[str, Scores] = {}
    named = record.options["tasks"]
    assert isinstance(named, list)
    for name, inputs in tasks.items():
        own = dataclasses.replace(
            inputs.record,
            versions=record.versions,
            machine={**record.machine, **inputs.record.machine},
            part=Part(name, named),
        )
        folder, inputs_of_part = run.part(name), dataclasses.replace(inputs, record=own)
        found[name] = write_task(folder, inputs_of_part, shared.of_task(params, name), step)
        folder.save_record(own)
    return found
