"""train(task_cls, options): a run in four phases: its inputs, its program, its folder, the fit."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Generic

import jax

from jaxbert.callbacks.guarded_callbacks import GuardedCallbacks
from jaxbert.callbacks.reports import check_reports, make_reports
from jaxbert.data.batch import Batch
from jaxbert.data.batch_source import BatchSource, Corruption
from jaxbert.data.features import Features
from jaxbert.data.in_memory import InMemory
from jaxbert.data.packing import PackedSampler, Sampler
from jaxbert.data.sampling import bucket_lengths
from jaxbert.data.user_corruption import UserCorruption, check_corruption
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.loaded.model import LoadedModel
from jaxbert.losses.check import try_loss
from jaxbert.losses.choose import ChosenLoss, choose_loss, with_keywords
from jaxbert.losses.forms import Arrays
from jaxbert.metrics.scores import LOSS, Scores
from jaxbert.metrics.user_metrics import UserMetric
from jaxbert.model.config import config_to_dict
from jaxbert.model.heads import Params
from jaxbert.options.fields import settings_of
from jaxbert.options.settings import TrainingOptions
from jaxbert.options.user_function import UserFunction
from jaxbert.runs.evaluate import Evaluator, show_scores
from jaxbert.runs.folder import RunFolder
from jaxbert.runs.inputs import (
    encode_examples,
    keep_learnable,
    load_model,
    read_examples,
    read_held_out,
)
from jaxbert.runs.plan import best_metrics, make_sampler, total_steps, warmup_of
from jaxbert.runs.record import Request, RunRecord, fingerprint_of
from jaxbert.runs.teacher import Teacher, load_teacher, with_teacher
from jaxbert.runtime import processes
from jaxbert.runtime.compiled import keep_compiled
from jaxbert.tasks.task import E, P, S, Task
from jaxbert.training.events import Finished, Notify
from jaxbert.training.loop import Program, fit, ignore
from jaxbert.training.optim import adamw, is_frozen, make_schedule
from jaxbert.training.parallel import Parallel, rows_for
from jaxbert.training.progress import Plan, Progress
from jaxbert.training.step import TrainState, TrainStep, init_state, make_train_step

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


@dataclasses.dataclass(frozen=True)
class PythonInputs:
    """What a Python program gives in place of what the options name.

    Attributes:
        train, validation: rows.
        loss: a function; options.loss has its name.
        metrics: after the task's own.
        corruption: of each row's tokens, in place of what the task does with them.
    """

    train: InMemory | None = None
    validation: InMemory | None = None
    loss: UserFunction | None = None
    metrics: Sequence[UserMetric] = ()
    corruption: UserFunction | None = None

    def functions(self) -> dict[str, Json]:
        """What the run's record has of the functions beside the loss."""
        found: dict[str, Json] = {
            f"metrics {m.name}": {"source": m.function.source, "values": m.values()}
            for m in self.metrics
        }
        if self.corruption is not None:
            source, values = self.corruption.source, self.corruption.values
            found["corruption"] = {"source": source, "values": values}
        return found


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
    names = {setting.name for setting in settings_of(type(options))} | {"metrics", "corruption"}
    unknown = set(options.allow_changed_options or ()) - names
    if unknown:
        raise InputError(f"--allow_changed_options {' '.join(sorted(unknown))}: no such option")
    _check(
        task_cls,
        packing=options.packing,
        metric=options.metric_for_best_model,
        added=[m.name for m in python_inputs.metrics],
    )
    loss = choose_loss(task_cls.losses, options.loss, options.loss_args, python_inputs.loss)
    processes.join(options.coordinator_address, options.num_processes, options.process_id)
    processes.check_alike("options", options.deciding())
    folder = Path(options.output_dir).expanduser()
    reports = make_reports(options.report_to, folder)
    notify = GuardedCallbacks([*callbacks, *reports]) if processes.is_first() else ignore
    with RunFolder.open(
        folder,
        writes=processes.is_first(),
        overwrite=options.overwrite_output_dir,
        keep=options.save_total_limit,
        retry_on_error=options.save_errors == "retry",
    ) as run:
        task = task_cls(options.part(task_cls.settings_cls))
        inputs = _read_inputs(task, options, loss, run, request, python_inputs)
        prepared = _make_program(inputs, options)
        state, progress = _open_folder(run, inputs, prepared)
        trained = _fit(run, inputs, prepared, state, progress, notify)
    notify(Finished(int(trained.state.step), trained.scores, trained.done))
    return trained


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


# --- inputs -----------------------------------------------------------------------------------


class _Validation(Generic[S, E, P]):
    """What the last evaluation of the held-out examples gave."""

    def __init__(self, evaluator: Evaluator[S, E, P]) -> None:
        self._evaluator = evaluator
        self.step = -1
        self.scores: Scores = {}
        self.predictions: Sequence[P] = []

    def __call__(
        self, params: Params, step: int, stopped: Callable[[], bool] = lambda: False
    ) -> Scores | None:
        result = self._evaluator(params, stopped)
        if result is None:
            return None
        (self.scores, self.predictions), self.step = result, step
        logger.info("step %d: %s", step, show_scores(self.scores))
        return self.scores


@dataclasses.dataclass(frozen=True)
class _Inputs(Generic[S, E, P]):
    """All that a run is made of, read and checked.

    Attributes:
        features: of `examples`, those from which something can be learned.
        held_out: the validation examples; None without any.
        record: of this run, for its folder, with all options as the data have decided them.
    """

    task: Task[S, E, P]
    loss: ChosenLoss
    model: LoadedModel
    examples: Sequence[E]
    features: Features
    sampler: Sampler
    plan: Plan
    held_out: Sequence[E] | None
    validation: _Validation[S, E, P] | None
    teacher: Teacher | None
    corruption: UserFunction | None
    record: RunRecord

    @property
    def parallel(self) -> Parallel:
        """The devices."""
        return self.model.compute.parallel


def _read_inputs(
    task: Task[S, E, P],
    options: TrainingOptions,
    loss: ChosenLoss,
    run: RunFolder,
    request: Request | None,
    python_inputs: PythonInputs,
) -> _Inputs[S, E, P]:
    """Examples, model, features, the order of batches and the plan; compared with the record of the
    run that is resumed, if there is one."""
    if options.compilation_cache_dir:
        keep_compiled(options.compilation_cache_dir)
    source = options.training_source()
    data = read_examples(task, source, python_inputs.train)
    if data is None:
        raise InputError("give --train_file or --dataset_name, the data to train on")
    held_out = read_held_out(
        task, options.validation_source(), python_inputs.validation, options.comparing_models
    )
    if held_out is None and python_inputs.metrics:
        raise InputError("metrics: give validation_data, on which they are computed")
    task = task.fit_to(data.examples, held_out)
    fitted = {name: value for name, value in vars(task.settings).items() if name in vars(options)}
    record = RunRecord.of(
        task.name,
        dataclasses.replace(options, **fitted),
        loss=loss.source,
        loss_values=loss.values,
        functions=python_inputs.functions(),
        job=processes.job(),
        request=request,
    )
    # Before anything is read that takes long.
    previous = run.find(record, teacher=loss.args.get("teacher"))

    model = load_model(task, options, data, seed=options.seed, packing=options.packing)
    added = {m.name for m in python_inputs.metrics}
    if not added.issuperset(best_metrics((), options.metric_for_best_model)):
        task.check_metric(options.metric_for_best_model, data.examples, model.cfg)
    parallel = model.compute.parallel
    if names := model.cfg.id2label:
        shown = ", ".join(names[:12]) + ", ..." * (len(names) > 12)
        logger.info("  %d outputs: %s", len(names), shown)
    _check_freeze(model.params, options.freeze or ())
    features = encode_examples(task, data.examples, model.tokenizer, model.cfg)
    features = keep_learnable(
        features, source.label if python_inputs.train is None else python_inputs.train.origin
    )
    sampler = make_sampler(
        features.lengths,
        width=model.cfg.hidden_size,
        parts=parallel.devices * options.gradient_accumulation_steps,
        per_device_train_batch_size=options.per_device_train_batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        packing=options.packing,
        max_seq_length=task.settings.max_seq_length,
        length_bucket=options.length_bucket,
        seed=options.seed,
        record=previous,
        platform=model.compute.platform,
    )
    rows_for(sampler.rows, parallel, options.gradient_accumulation_steps)
    lower = {m.name for m in task.metrics if m.lower_is_better}
    lower |= {m.name for m in python_inputs.metrics if m.lower_is_better}
    plan = Plan(
        total=total_steps(options.num_train_epochs, options.max_steps, sampler.steps_per_epoch),
        log_every=options.logging_steps,
        eval_every=options.eval_steps or sampler.steps_per_epoch,
        save_every=options.save_steps or sampler.steps_per_epoch,
        patience=options.early_stopping_patience,
        max_skipped=options.max_nonfinite_steps,
        metrics=best_metrics([m.name for m in task.metrics], options.metric_for_best_model),
        lower_is_better=frozenset({LOSS, *lower}),
        may_lack=frozenset({LOSS, *added}),
        keeps_best=options.load_best_model_at_end,
    )
    validation = None
    if held_out is not None:
        validation = _make_validation(
            task,
            model,
            held_out,
            per_device_eval_batch_size=options.per_device_eval_batch_size,
            length_bucket=options.length_bucket,
            metrics=python_inputs.metrics,
        )
        if plan.metrics == (LOSS,) and not any(map(task.learnable, held_out)):
            raise InputError(
                f"--metric_for_best_model {options.metric_for_best_model}: the validation data "
                "have no example whose label is known and found, so they have no eval_loss; give "
                "another score"
            )
    teacher = _teacher_of(loss, task, model)
    prints = _fingerprints(model, features, held_out, teacher)
    processes.check_alike("data", prints)
    processes.check_alike("losses", [loss.source, dict(loss.values)])
    processes.check_alike("functions", python_inputs.functions())
    record = dataclasses.replace(
        record, rows_per_step=sampler.rows, row_length=max(sampler.buckets), data=prints
    )
    run.check(record, user_loss=loss.user_defined)
    return _Inputs(
        task=task,
        loss=loss,
        model=model,
        examples=data.examples,
        features=features,
        sampler=sampler,
        plan=plan,
        held_out=held_out,
        validation=validation,
        teacher=teacher,
        corruption=python_inputs.corruption,
        record=record,
    )


def _make_validation(
    task: Task[S, E, P],
    model: LoadedModel,
    held_out: Sequence[E],
    *,
    per_device_eval_batch_size: int,
    length_bucket: int,
    metrics: Sequence[UserMetric],
) -> _Validation[S, E, P]:
    """The evaluation of the held-out examples, its user-defined metrics tried."""
    parallel = model.compute.parallel
    evaluator = Evaluator(
        task,
        model,
        held_out,
        encode_examples(task, held_out, model.tokenizer, model.cfg),
        size=per_device_eval_batch_size * parallel.devices,
        buckets=bucket_lengths(length_bucket, task.settings.max_seq_length),
        metrics=metrics,
    )
    if metrics:
        evaluator.try_metrics(parallel.replicate(model.params))
    return _Validation(evaluator)


def _fingerprints(
    model: LoadedModel,
    features: Features,
    held_out: Collection[Hashable] | None,
    teacher: Teacher | None,
) -> dict[str, str]:
    """What identifies the data of a run, by name, for its record."""
    # The problem type is in the data's own fingerprint, and earlier versions did not keep it.
    shape = config_to_dict(dataclasses.replace(model.cfg, problem_type=None))
    prints = {"train": features.fingerprint(), "model": fingerprint_of(shape)}
    if held_out is not None:
        prints["validation"] = fingerprint_of(held_out)
    if teacher is not None:
        prints["teacher"] = teacher.fingerprint()
    return prints


def _check_freeze(params: Params, freeze: Sequence[str]) -> None:
    paths = [p for p, _ in jax.tree_util.tree_leaves_with_path(params)]
    names = [tuple(str(part.key) for part in path) for path in paths]
    for name in freeze:
        if not any(is_frozen(path, [name]) for path in names):
            modules = sorted({part for path in names for part in path[:2]})
            raise InputError(f"--freeze {name}: no such module; there are {', '.join(modules)}")
    if freeze and all(is_frozen(path, freeze) for path in names):
        raise InputError("--freeze leaves nothing to train")


def _teacher_of(loss: ChosenLoss, task: Task[S, E, P], student: LoadedModel) -> Teacher | None:
    """The model that the loss's options name, if they do."""
    if "teacher" not in loss.args:
        return None
    first = None if loss.user_defined else bool(loss.args.get("hidden"))
    return load_teacher(loss.args["teacher"], task, student, first=first)


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


def _make_program(inputs: _Inputs[S, E, P], options: TrainingOptions) -> _Prepared:
    """Batches, loss, optimizer and step, the loss tried on a batch."""
    task, model, parallel = inputs.task, inputs.model, inputs.parallel
    schedule = make_schedule(
        options.learning_rate,
        steps=inputs.plan.total,
        warmup_steps=warmup_of(options.warmup_steps, options.warmup_ratio, inputs.plan.total),
        decay=options.lr_scheduler_type,
    )
    tx = adamw(
        schedule,
        weight_decay=options.weight_decay,
        clip_norm=options.max_grad_norm,
        b1=options.adam_beta1,
        b2=options.adam_beta2,
        eps=options.adam_epsilon,
        frozen=options.freeze or (),
    )
    features = inputs.features
    if inputs.teacher is not None:
        features = with_teacher(
            features,
            inputs.teacher,
            task.token_outputs,
            size=options.per_device_train_batch_size * parallel.devices,
            buckets=bucket_lengths(options.length_bucket, task.settings.max_seq_length),
        )
    lengths = inputs.sampler.buckets
    logger.info("  attention by %s: %s", *model.attention_for(lengths, train=True))
    apply = model.train_apply(
        lengths, remat=options.gradient_checkpointing, scan=options.scan_layers
    )
    source = BatchSource(
        features,
        inputs.sampler,
        _corruption_of(inputs, options.seed),
        options.gradient_accumulation_steps,
        _ids(inputs.examples),
    )
    key = jax.random.fold_in(jax.random.key(options.seed), 1)
    loss = with_keywords(inputs.loss, task.loss_keywords(model.cfg))
    try_loss(
        loss,
        apply,
        model.params,
        {n: x[0][: x.shape[1] // parallel.devices] for n, x in source.batch(0).items()},
        features,
        source.row_lengths,
        source.corruption,
        key,
        packing=options.packing,
        tolerance=1e-3 if options.dtype == "float32" else 2e-2,
    )
    step = _Counted(
        make_train_step(
            apply,
            loss.function,
            tx,
            accumulate=options.gradient_accumulation_steps,
            measure=task.measure(),
            frozen=options.freeze or (),
            axis_name=parallel.axis_name,
        )
    )
    program = Program(parallel.compile_train(step), key, schedule, parallel)
    return _Prepared(source, program, step, jax.device_get(init_state(model.params, tx)))


def _corruption_of(inputs: _Inputs[S, E, P], seed: int) -> Corruption | None:
    """What is done to every batch: the function that was given, tried, or else what the task does.

    Raises:
        InputError: the function cannot be used.
    """
    model = inputs.model
    of_task = inputs.task.corrupt(model.tokenizer, model.cfg, seed=seed)
    if inputs.corruption is None:
        return of_task
    corruption = UserCorruption(
        inputs.corruption,
        seed=seed,
        of_tokens=tuple(inputs.features.tokens),
        of_rows=tuple(inputs.features.rows),
        special_ids=tuple(model.tokenizer.all_special_ids),
        vocab_size=model.cfg.vocab_size,
        predicts=of_task is not None,
    )
    check_corruption(corruption, inputs.features)
    return corruption


def _ids(examples: Sequence[E]) -> list[str] | None:
    """The ids of the examples, where they have any."""
    ids = [example.id for example in examples if hasattr(example, "id")]
    return ids or None


# --- folder -----------------------------------------------------------------------------------


def _open_folder(
    run: RunFolder, inputs: _Inputs[S, E, P], prepared: _Prepared
) -> tuple[TrainState, Progress]:
    """Make the folder this run's, or resume the run in it: the state and progress to go on with.

    All that the user gave has been read and checked: from here on files are written.
    """
    run.begin(inputs.record)
    step, state, progress = run.restore(prepared.state)
    if step is not None:
        progress.judge_again(inputs.plan)
        logger.info("going on from step %d of %d", step, inputs.plan.total)
    progress.options = dict(inputs.record.options)
    run.update_record(inputs.record)
    return state, progress


# --- fit --------------------------------------------------------------------------------------


def _fit(
    run: RunFolder,
    inputs: _Inputs[S, E, P],
    prepared: _Prepared,
    state: TrainState,
    progress: Progress,
    notify: Notify,
) -> Trained:
    """Train to the end of the plan, then write the model and its results."""
    _announce(inputs.plan, prepared.source, inputs.parallel)
    started = time.perf_counter()
    with run.storage(int(state.step)) as storage:
        state, done = fit(
            state,
            progress,
            prepared.source,
            prepared.program,
            inputs.plan,
            storage,
            inputs.validation,
            notify,
        )
    seconds, shapes = time.perf_counter() - started, prepared.step.times
    logger.info("step %d after %.0f s; %d shapes compiled", int(state.step), seconds, shapes)
    if progress.skipped:
        logger.warning("%d steps were skipped: not finite", progress.skipped)
    if not done:
        run.close()
        again = ", without --overwrite_output_dir," * run.overwrites
        logger.info("saved in %s; the same command%s goes on from here", run.path, again)
        return Trained(state, {}, False, progress.evaluations)
    params, step = _result(run, inputs, state, progress)
    scores = _write_results(run, inputs, params, step)
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
    logger.info("  %.1f %% of the tokens are padding", 100 * source.padding())


def _result(
    run: RunFolder, inputs: _Inputs[S, E, P], state: TrainState, progress: Progress
) -> tuple[Params, int]:
    """The parameters to keep, and the step that they are of: the last, or the best if asked for."""
    last, best = int(state.step), progress.best_step
    if best is None or best == last:
        return state.params, last
    if inputs.plan.keeps_best:
        try:
            params = run.restore(state, best)[1].params
        except InputError as error:
            logger.warning("%s; so the result is the last step, not the best", error)
            return state.params, last
        logger.info("the best checkpoint is step %d", best)
        return params, best
    logger.log(
        logging.INFO if inputs.plan.patience is None else logging.WARNING,
        "the saved model is that of step %d; the best was step %d; the same command with "
        "--load_best_model_at_end --allow_changed_options load_best_model_at_end saves that",
        last,
        best,
    )
    return state.params, last


def _write_results(run: RunFolder, inputs: _Inputs[S, E, P], params: Params, step: int) -> Scores:
    """The model, its scores and the task's files; returns the scores."""
    task, model = inputs.task, inputs.model
    run.close()
    run.save_model(model, task.export(params))
    scores: Scores = {}
    files: dict[str, Json] = {}
    validation = inputs.validation
    if validation is not None:
        if validation.step != step:
            validation(inputs.parallel.replicate(params), step)
        scores = validation.scores
        files = task.artifacts(inputs.held_out or (), validation.predictions, model.cfg)
    run.write_results(scores, files)
    logger.info("model and results in %s", run.path)
    return scores
