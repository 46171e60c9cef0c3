"""train(task_cls, options): a run in four phases: its inputs, its program, its folder, the fit."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import jax

from jaxbert.callbacks.guarded_callbacks import GuardedCallbacks
from jaxbert.callbacks.reports import check_reports, make_reports
from jaxbert.data.batch import Batch
from jaxbert.data.batch_source import BatchSource
from jaxbert.data.packing import PackedSampler
from jaxbert.data.sampling import bucket_lengths
from jaxbert.errors import InputError
from jaxbert.io.files import JsonFile
from jaxbert.losses.check import try_loss
from jaxbert.losses.choose import choose_loss, with_keywords
from jaxbert.losses.forms import Arrays
from jaxbert.losses.own_params import of_model, with_loss_params
from jaxbert.metrics.scores import Scores
from jaxbert.model.heads import Params
from jaxbert.options.fields import Setting, settings_of
from jaxbert.options.settings import TrainingOptions
from jaxbert.options.source_settings import OwnColumns
from jaxbert.runs.adapter import check_lora
from jaxbert.runs.folder import RunFolder
from jaxbert.runs.plan import best_metrics, warmup_of
from jaxbert.runs.record import Request, RunRecord
from jaxbert.runs.run_files import TRACE
from jaxbert.runs.run_report import Course
from jaxbert.runs.run_step import corruption_of, make_step
from jaxbert.runs.saved import card_of, name_of
from jaxbert.runs.teacher import with_teacher
from jaxbert.runs.training_inputs import (
    Inputs,
    PythonInputs,
    read_data,
    read_inputs,
)
from jaxbert.runs.training_report import took, write_training_report
from jaxbert.runtime import processes
from jaxbert.runtime.compiled import keep_compiled
from jaxbert.runtime.device_memory import memory_is_told
from jaxbert.sharing.hub import Repository
from jaxbert.tasks.task import E, P, S, Task
from jaxbert.training.choose_optimizer import choose_optimizer, try_optimizer
from jaxbert.training.events import Finished, Notify
from jaxbert.training.loop import Program, fit, ignore
from jaxbert.training.optim import make_schedule
from jaxbert.training.optimizers import make_optimizer
from jaxbert.training.parallel import Parallel
from jaxbert.training.progress import Plan, Progress
from jaxbert.training.step import TrainState, TrainStep, init_state
from jaxbert.training.traced_steps import TracedSteps, steps_of

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
_TAKES_LESS = (
    "fewer rows (--per_device_train_batch_size) with --gradient_accumulation_steps, "
    "--gradient_checkpointing or a shorter --dtype take less, and `jaxbert compile` tells what fits"
)


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
    _check_allowed(options.allow_changed_options or (), settings_of(type(options)))
    added = [m.name for m in python_inputs.metrics]
    _check(task_cls, packing=options.packing, metric=options.metric_for_best_model, added=added)
    loss = choose_loss(task_cls.losses, **options.loss_choice(), given=python_inputs.loss)
    optimizer = choose_optimizer(options.optim, given=python_inputs.optim, **options.rule())
    check_lora(options.lora())
    processes.join(options.coordinator_address, options.num_processes, options.process_id)
    processes.check_alike("options", options.deciding())
    repository = _repository(options.output_dir, **options.upload())
    keep_compiled(options.compilation_cache_dir)
    with RunFolder.open(
        options.output_dir,
        writes=processes.is_first(),
        overwrite=options.overwrite_output_dir,
        keep=options.save_total_limit,
        retry_on_error=options.save_errors == "retry",
    ) as run:
        notify = _told(callbacks, make_reports(options.report_to, run.path))
        read = read_data(
            task_cls(options.part(task_cls.settings_cls)),
            options.training_source(),
            options.validation_source(),
            python_inputs,
            options.own_columns(),
            options.comparing_models,
            options.cache_dir,
        )
        fitted = {n: x for n, x in vars(read.task.settings).items() if n in vars(options)}
        record = RunRecord.of(
            task_cls.name,
            dataclasses.replace(options, **fitted),
            loss=loss.source,
            loss_values=loss.values,
            functions={**python_inputs.functions(), **optimizer.recorded()},
            job=processes.job(),
            request=request,
        )
        inputs = read_inputs(read, options, loss, optimizer, run, record, python_inputs)
        prepared = _make_program(inputs, options)
        state, progress = _open_folder(run, inputs, prepared)
        trained = _fit(run, inputs, prepared, state, progress, notify, traced)
        run.push(repository if trained.done else None)
    notify(Finished(int(trained.state.step), trained.scores, trained.done))
    return trained


def _told(callbacks: Sequence[Notify], reports: Sequence[Notify]) -> Notify:
    """Who is told of the run's events, in the first process."""
    return GuardedCallbacks([*callbacks, *reports]) if processes.is_first() else ignore


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


def _check_allowed(allowed: Collection[str], known: Iterable[Setting]) -> None:
    """Refuse to allow changes of what is no option."""
    unknown = set(allowed) - {setting.name for setting in known} - {"metrics", "corruption"}
    if unknown:
        raise InputError(f"--allow_changed_options {' '.join(sorted(unknown))}: no such option")


def _check(
    task: type[Task[S, E, P]], *, packing: bool, metric: str | None, added: Sequence[str]
) -> None:
    """Refuse what a task does not have, before any file is read.

    Args:
        metric: --metric_for_best_model.
        added: the names of scores beside the task's.
    """
    if packing and not task.packs:
        raise InputError(f"--packing is not for {task.name}, whose rows have several texts already")
    known = (*task.metric_names(), *added)
    if other := set(best_metrics(known, metric)) - set(known):
        raise InputError(f"--metric_for_best_model {' '.join(other)}: give {', '.join(known)}")


# --- program ----------------------------------------------------------------------------------


class _Counted:
    """A step that counts how often it is traced: once for each compiled shape."""

    def __init__(self, step: TrainStep) -> None:
        self._step, self.times = step, 0
        functools.update_wrapper(self, step)

    def __call__(
        self, state: TrainState, batch: Batch[jax.Array], key: jax.Array
    ) -> tuple[TrainState, Arrays]:
        self.times += 1
        return self._step(state, batch, key)


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """The compiled step with its batches, and the state that it starts from, on the host."""

    source: BatchSource
    program: Program
    step: _Counted
    state: TrainState


def _make_program(inputs: Inputs[S, E, P], options: TrainingOptions) -> _Prepared:
    """Batches, loss, optimizer and step, the loss tried on a batch."""
    task, model, parallel = inputs.task, inputs.model, inputs.parallel
    schedule = make_schedule(
        options.learning_rate,
        steps=inputs.plan.total,
        warmup_steps=warmup_of(options.warmup_steps, options.warmup_ratio, inputs.plan.total),
        decay=options.lr_scheduler_type,
    )
    tx = make_optimizer(
        inputs.optimizer.rule, schedule, steps=inputs.plan.total, **options.optimizer()
    )
    try_optimizer(inputs.optimizer, tx, model.params)
    features = inputs.features
    if inputs.teacher is not None:
        features = with_teacher(
            features,
            inputs.teacher,
            task.token_outputs,
            size=inputs.batch_size * parallel.devices,
            buckets=bucket_lengths(options.length_bucket, task.settings.max_seq_length),
        )
    lengths = inputs.sampler.buckets
    logger.info("  attention by %s: %s", *model.attention_for(lengths, train=True))
    source = BatchSource(
        features,
        inputs.sampler,
        corruption_of(task, model, inputs.features, inputs.corruption, options.seed),
        inputs.accumulation,
        _ids_of(inputs.examples),
        parallel.devices,
    )
    key = jax.random.fold_in(jax.random.key(options.seed), 1)
    loss = with_keywords(inputs.loss, task.loss_keywords(model.cfg))
    params = with_loss_params(model.params, loss, model.cfg, seed=options.seed)
    try_loss(
        loss,
        model.train_apply(lengths, on_one_device=True),
        params,
        {n: x[0][: x.shape[1] // parallel.devices] for n, x in source.batch(0).items()},
        features,
        source.row_lengths,
        source.corruption,
        key,
        packing=options.packing,
        own_columns=_columns_for_loss(options.own_columns()),
        tolerance=1e-3 if options.dtype == "float32" else 2e-2,
    )
    step = _Counted(
        make_step(
            task,
            model,
            inputs.loss,
            tx,
            lengths,
            **options.step(inputs.accumulation),
        )
    )
    program = Program(parallel.compile_train(step), key, schedule, parallel)
    return _Prepared(source, program, step, jax.device_get(init_state(params, tx, options.dtype)))


def _columns_for_loss(names: OwnColumns) -> list[str]:
    """The keys of a batch that only a user's loss reads."""
    return [*names.extra, *["view_input_ids"] * (names.view is not None)]


def _ids_of(examples: Sequence[E]) -> Callable[[int], str] | None:
    """The id of an example by its position, where examples have ids; none is read before."""

    def id_of(index: int) -> str:
        example = examples[index]
        assert hasattr(example, "id")
        return str(example.id)

    return id_of if hasattr(examples[0], "id") else None


# --- folder -----------------------------------------------------------------------------------


def _open_folder(
    run: RunFolder, inputs: Inputs[S, E, P], prepared: _Prepared
) -> tuple[TrainState, Progress]:
    """Make the folder this run's, or resume the run in it: the state and progress to start from.

    All that the user gave has been read and checked: from here on files are written.
    """
    run.begin(inputs.record)
    step, state, progress = run.restore(prepared.state)
    if step is not None:
        progress.judge_again(inputs.plan)
        logger.info("resuming from step %d of %d", step, inputs.plan.total)
    progress.options = dict(inputs.record.options)
    run.update_record(inputs.record)
    return state, progress


# --- fit --------------------------------------------------------------------------------------


def _fit(
    run: RunFolder,
    inputs: Inputs[S, E, P],
    prepared: _Prepared,
    state: TrainState,
    progress: Progress,
    notify: Notify,
    traced: range,
) -> Trained:
    """Train to the end of the plan, then write the model and its results.

    Args:
        traced: the steps to be traced.
    """
    _announce(inputs.plan, prepared.source, inputs.parallel)
    started = time.perf_counter()
    steps = TracedSteps(prepared.program.step, traced, run.path / TRACE)
    with (
        run.storage(int(state.step)) as storage,
        contextlib.closing(steps),
        memory_is_told("training", _TAKES_LESS),
    ):
        state, done = fit(
            state,
            progress,
            prepared.source,
            prepared.program._replace(step=steps),
            inputs.plan,
            storage,
            inputs.validation,
            notify,
        )
    seconds, shapes = time.perf_counter() - started, prepared.step.times
    compiled = f"{shapes} shape{'s' * (shapes != 1)} compiled"
    logger.info("step %d after %.0f s; %s", int(state.step), seconds, compiled)
    if progress.skipped:
        logger.warning("%d steps were skipped: not finite", progress.skipped)
    if not done:
        run.close()
        again = ", without --overwrite_output_dir," * run.overwrites
        logger.info("saved in %s; the same command%s resumes here", run.place, again)
        return Trained(state, {}, False, progress.evaluations)
    params, step = _result(run, inputs, state, progress)
    scores = _write_results(run, inputs, params, step)
    effort = took(inputs, prepared.source, shapes, seconds)
    write_training_report(run, inputs, Course(progress.evaluations, step, effort), scores)
    return Trained(state, scores, True, progress.evaluations)


def _announce(plan: Plan, source: BatchSource, parallel: Parallel) -> None:
    """Say how long the run is, of what rows, and on what."""
    devices = f"{parallel.devices} device{'s' * (parallel.devices > 1)}"
    where = f"{devices} ({jax.default_backend()}, {parallel.name})"
    what = f"{source.rows} rows of {' '.join(map(str, source.row_lengths))} tokens"
    if isinstance(source.sampler, PackedSampler):
        windows = len(source.features) / source.steps_per_epoch
        what += f" with {windows:.1f} windows on average"
    logger.info("%d steps of %s on %s", plan.total, what, where)
    if source.accumulation > 1:
        logger.info("  each in %d micro-batches", source.accumulation)
    logger.info("  %.1f %% of the tokens are padding", 100 * source.padding())


def _result(
    run: RunFolder, inputs: Inputs[S, E, P], state: TrainState, progress: Progress
) -> tuple[Params, int]:
    """The parameters to keep, and the step that they are of: the last, or the best if asked for."""
    last, best = int(state.step), progress.best_step
    if best is None or best == last:
        return state.result, last
    if inputs.plan.keeps_best:
        try:
            params = run.restore(state, best)[1].result
        except InputError as error:
            logger.warning("%s; so the result is the last step, not the best", error)
            return state.result, last
        logger.info("the best checkpoint is step %d", best)
        return params, best
    logger.log(
        logging.INFO if inputs.plan.patience is None else logging.WARNING,
        "the saved model is that of step %d; the best was step %d; the same command with "
        "--load_best_model_at_end --allow_changed_options load_best_model_at_end saves that",
        last,
        best,
    )
    return state.result, last


def _write_results(run: RunFolder, inputs: Inputs[S, E, P], params: Params, step: int) -> Scores:
    """The model, its scores and the task's files; returns the scores."""
    task, model = inputs.task, inputs.model
    run.close()
    run.save_model(model, {**params, **task.export(of_model(params))})
    scores: Scores = {}
    files: dict[str, JsonFile] = {}
    validation = inputs.validation
    if validation is not None:
        if validation.step != step:
            validation(inputs.parallel.replicate(params), step)
        scores = validation.scores
        files = task.artifacts(inputs.held_out or (), validation.predictions, model.cfg)
    run.write_results(scores, files)
    run.save_card(card_of(name_of(str(run.place)), inputs.record, scores))
    logger.info("model and results in %s", run.place)
    return scores
