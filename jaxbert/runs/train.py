"""What train/ calls: train(task, options)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock

from jaxbert.data.batch_source import BatchSource
from jaxbert.data.packing import PackedSampler
from jaxbert.data.sampling import bucket_lengths
from jaxbert.errors import InputError
from jaxbert.loaded.model import LoadedModel
from jaxbert.losses.check import try_loss
from jaxbert.losses.choose import ChosenLoss, choose_loss, with_settings
from jaxbert.losses.forms import Arrays
from jaxbert.metrics.scores import LOSS, Scores
from jaxbert.model.config import config_to_dict
from jaxbert.model.heads import Params
from jaxbert.options.values import HARMLESS, check_ranges
from jaxbert.runs.evaluate import Evaluator, show_scores
from jaxbert.runs.folder import (
    check_data,
    check_loss_text,
    check_output,
    check_writable,
    fingerprint_of,
    lock_of,
    remove_run,
    take,
    write_record,
    write_results,
)
from jaxbert.runs.inputs import (
    encode_examples,
    keep_learnable,
    load_model,
    origin_of,
    read_examples,
    read_held_out,
)
from jaxbert.runs.plan import best_metrics, make_sampler, total_steps, warmup_of
from jaxbert.runs.teacher import Teacher, load_teacher, with_teacher
from jaxbert.runtime import processes
from jaxbert.runtime.compiled import keep_compiled
from jaxbert.tasks.task import Task
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.loop import Nowhere, Program, Storage, fit
from jaxbert.training.optim import adamw, is_frozen, make_schedule
from jaxbert.training.parallel import Parallel, rows_for
from jaxbert.training.progress import Plan, Progress
from jaxbert.training.step import TrainState, TrainStep, init_state, make_train_step
from jaxbert.training.train_log import TrainLog

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class Trained:
    """The end of train(): done is False when a signal stopped the run, which is saved."""

    state: TrainState
    scores: Scores
    done: bool


def _check_freeze(params: Params, freeze: Sequence[str]) -> None:
    paths = [p for p, _ in jax.tree_util.tree_leaves_with_path(params)]
    names = [tuple(str(part.key) for part in path) for path in paths]
    for name in freeze:
        if not any(is_frozen(path, [name]) for path in names):
            modules = sorted({part for path in names for part in path[:2]})
            raise InputError(f"--freeze {name}: no such module; there are {', '.join(modules)}")
    if freeze and all(is_frozen(path, freeze) for path in names):
        raise InputError("--freeze leaves nothing to train")


class _Validation:
    """What the last evaluation of the held-out examples gave."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self.step = -1
        self.scores: Scores = {}
        self.predictions: list[Any] = []

    def __call__(
        self, params: Params, step: int, stopped: Callable[[], bool] = lambda: False
    ) -> Scores | None:
        result = self._evaluator(params, stopped)
        if result is None:
            return None
        (self.scores, self.predictions), self.step = result, step
        logger.info("step %d: %s", step, show_scores(self.scores))
        return self.scores


def _check(task: Task, options: Any) -> None:
    """What can be refused before any file is read."""
    check_ranges(options)
    if not options.output_dir:
        raise InputError("give --output_dir, the folder for the results")
    names = {field.name for field in dataclasses.fields(options)}
    unknown = set(options.allow_changed_options or ()) - names
    if unknown:
        raise InputError(f"--allow_changed_options {' '.join(sorted(unknown))}: no such option")
    if options.packing and not task.packs:
        raise InputError(f"--packing is not for {task.name}, whose rows have several texts already")
    known = (*task.best_metrics, LOSS)
    chosen = best_metrics(task.best_metrics, options.metric_for_best_model)
    if other := set(chosen) - set(known):
        raise InputError(f"--metric_for_best_model {' '.join(other)}: give {', '.join(known)}")


class _Files:
    """The Storage of the first process: its checkpoints and its log."""

    def __init__(self, folder: Path, checkpoints: Checkpoints, log: TrainLog) -> None:
        self._folder, self._checkpoints, self._log = folder, checkpoints, log

    def save(self, state: TrainState, progress: Progress) -> Path:
        self._checkpoints.save(state, dataclasses.asdict(progress), best_step=progress.best_step)
        return self._folder

    def wait(self) -> None:
        self._checkpoints.wait()

    def log(self, record: Mapping[str, float | None]) -> None:
        self._log.write(record)


def _ids(examples: Sequence[Any]) -> list[str] | None:
    """The ids of the examples, where they have any."""
    return [example.id for example in examples] if hasattr(examples[0], "id") else None


def _teacher_of(loss: ChosenLoss, task: Task, options: Any, student: LoadedModel) -> Teacher | None:
    """The model that the loss's options name, if they do."""
    if "teacher" not in loss.args:
        return None
    first = None if loss.own else bool(loss.args.get("hidden"))
    return load_teacher(loss.args["teacher"], task, options, student, first=first)


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


class _Counted:
    """A step that counts how often it is traced: once for each compiled shape."""

    def __init__(self, step: TrainStep) -> None:
        self._step, self.times = step, 0
        functools.update_wrapper(self, step)

    def __call__(
        self, state: TrainState, batch: Arrays, key: jax.Array
    ) -> tuple[TrainState, Arrays]:
        self.times += 1
        return self._step(state, batch, key)


def _restored(
    checkpoints: Checkpoints | None, state: TrainState, step: int | None = None
) -> tuple[int | None, TrainState, dict[str, Any]]:
    """A checkpoint, by default the newest that verifies, as the first process reads it.

    Args:
        checkpoints: None in the other processes.
        state: of the same shapes and dtypes, given back where there is no checkpoint.

    Returns:
        The step or None, the state and the progress, the same in all processes.
    """

    def read() -> tuple[int | None, dict[str, Any]]:
        nonlocal state
        assert checkpoints is not None
        found = checkpoints.newest() if step is None else step
        if found is None:
            return None, {}
        state, progress = checkpoints.restore(found, state)
        return found, progress

    found, progress = processes.from_first(read)
    return found, processes.arrays_from_first(state), progress


def train(task: Task, options: Any) -> Trained:
    """Fine-tune, or go on with the run in options.output_dir; writes all results there.

    Raises:
        InputError: something the user gave cannot be used; nothing has been written.
    """
    _check(task, options)
    loss = choose_loss(task.losses, options.loss, options.loss_args)
    processes.join(options.coordinator_address, options.num_processes, options.process_id)
    own = {n: x for n, x in dataclasses.asdict(options).items() if n not in HARMLESS}
    processes.check_alike("options", own)
    folder = Path(options.output_dir).expanduser()
    lock = lock_of(folder)
    try:
        return _train(task, options, loss, folder, lock)
    finally:
        lock.release(force=True)


def _train(task: Task, options: Any, loss: ChosenLoss, folder: Path, lock: FileLock) -> Trained:
    processes.from_first(lambda: check_writable(folder))
    if options.compilation_cache_dir:
        keep_compiled(options.compilation_cache_dir)
    data = read_examples(task, options, "train")
    if data is None:
        raise InputError("give --train_file or --dataset_name, the data to train on")
    examples = data.examples
    held_out = read_held_out(task, options)
    options = task.resolve(options, examples, held_out)
    job, teacher_name = processes.job(), loss.args.get("teacher")
    record = processes.from_first(
        lambda: check_output(folder, task.name, options, teacher=teacher_name, job=job)
    )
    if record:  # before anything is read that takes long
        processes.from_first(lambda: take(lock, folder, record, options))

    model = load_model(task, options, data)
    cfg, params, tokenizer = model.cfg, model.params, model.tokenizer
    parallel = model.compute.parallel
    if cfg.id2label:
        shown = ", ".join(cfg.id2label[:12]) + ", ..." * (len(cfg.id2label) > 12)
        logger.info("  %d outputs: %s", len(cfg.id2label), shown)
    _check_freeze(params, options.freeze or ())
    features = encode_examples(task, examples, tokenizer, cfg, options)
    features = keep_learnable(features, origin_of(options))
    accumulate = options.gradient_accumulation_steps
    parts = parallel.devices * accumulate
    order = make_sampler(
        features.lengths,
        width=cfg.hidden_size,
        parts=parts,
        per_device_train_batch_size=options.per_device_train_batch_size,
        gradient_accumulation_steps=accumulate,
        packing=options.packing,
        max_seq_length=options.max_seq_length,
        length_bucket=options.length_bucket,
        seed=options.seed,
        record=record,
    )
    rows_for(order.rows, parallel, accumulate)
    metrics = best_metrics(task.best_metrics, options.metric_for_best_model)
    plan = Plan(
        total=total_steps(options.num_train_epochs, options.max_steps, order.steps_per_epoch),
        log_every=options.logging_steps,
        eval_every=options.eval_steps or order.steps_per_epoch,
        save_every=options.save_steps or order.steps_per_epoch,
        patience=options.early_stopping_patience,
        max_skipped=options.max_nonfinite_steps,
        metrics=metrics,
        lower_is_better=task.lower_is_better | {LOSS},
    )
    # The problem type is in the data's own fingerprint, and earlier versions did not keep it.
    shape = config_to_dict(dataclasses.replace(cfg, problem_type=None))
    prints = {"train": features.fingerprint(), "model": fingerprint_of(shape)}
    validation = None
    if held_out is not None:
        held_out_features = encode_examples(task, held_out, tokenizer, cfg, options)
        evaluator = Evaluator(task, options, model, held_out, held_out_features)
        if metrics == (LOSS,) and not any(map(task.learnable, held_out)):
            raise InputError(
                f"--metric_for_best_model {options.metric_for_best_model}: the validation data "
                "have no example whose label is known and found, so they have no eval_loss; give "
                "another score"
            )
        validation = _Validation(evaluator)
        prints["validation"] = fingerprint_of(held_out)
    teacher = _teacher_of(loss, task, options, model)
    if teacher is not None:
        prints["teacher"] = teacher.fingerprint()
    processes.check_alike("data", prints)
    processes.check_alike("losses", [loss.source])
    allowed = options.allow_changed_options or ()
    processes.from_first(lambda: check_data(folder, record, prints, allowed))
    if loss.own:
        processes.from_first(lambda: check_loss_text(folder, record, options, loss.source))
    schedule = make_schedule(
        options.learning_rate,
        steps=plan.total,
        warmup_steps=warmup_of(options.warmup_steps, options.warmup_ratio, plan.total),
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
    if teacher is not None:
        features = with_teacher(
            features,
            teacher,
            task.token_outputs,
            size=options.per_device_train_batch_size * parallel.devices,
            buckets=bucket_lengths(options.length_bucket, options.max_seq_length),
        )
    logger.info("  attention by %s: %s", *model.attention_for(order.buckets, train=True))
    apply = model.train_apply(
        order.buckets, remat=options.gradient_checkpointing, scan=options.scan_layers
    )
    corrupt = task.corrupt(options, tokenizer, cfg) if task.corrupt else None
    key = jax.random.fold_in(jax.random.key(options.seed), 1)
    loss = with_settings(loss, task.loss_settings(options, cfg))
    source = BatchSource(features, order, corrupt, accumulate, _ids(examples))
    try_loss(
        loss,
        apply,
        params,
        {n: x[0][: x.shape[1] // parallel.devices] for n, x in source.batch(0).items()},
        features,
        source.row_lengths,
        corrupt,
        key,
        packing=options.packing,
        tolerance=1e-3 if options.dtype == "float32" else 2e-2,
    )
    step = _Counted(
        make_train_step(
            apply,
            loss.function,
            tx,
            accumulate=accumulate,
            measure=task.measure,
            frozen=options.freeze or (),
            axis_name=parallel.axis_name,
        )
    )
    program = Program(parallel.compile_train(step), key, schedule, parallel)

    state, progress = jax.device_get(init_state(params, tx)), Progress()
    # Everything the user gave has been read and checked: from here on files are written.
    processes.from_first(lambda: take(lock, folder, record, options))
    writes = processes.is_first()
    tell = functools.partial(
        write_record,
        folder,
        task.name,
        options,
        rows_per_step=source.rows,
        data=prints,
        loss=loss.source,
        job=job,
        row_length=max(source.row_lengths),
    )
    if writes and record is None:
        if options.overwrite_output_dir:
            remove_run(folder)
        tell()  # first of all: whatever is in the folder from now on is this run's
    checkpoints = (
        Checkpoints(
            folder / "checkpoints",
            options.save_total_limit,
            logger.info,
            retry_on_error=options.save_errors == "retry",
        )
        if writes
        else None
    )
    found, state, saved = _restored(checkpoints, state)
    if found is not None:
        progress = Progress.read(saved, folder / "checkpoints" / str(found) / "progress.json")
        progress.judge_again(plan)
        logger.info("going on from step %d of %d", found, plan.total)
    progress.options = dataclasses.asdict(options)
    if writes and record is not None:
        tell()
    _announce(plan, source, parallel)
    started = time.perf_counter()
    with contextlib.ExitStack() as opened:
        storage: Storage = Nowhere()
        if checkpoints:
            retry_on_error = options.save_errors == "retry"
            log = TrainLog(
                folder / "train_log.jsonl", int(state.step), retry_on_error=retry_on_error
            )
            opened.enter_context(log)
            storage = _Files(folder / "checkpoints", checkpoints, log)
        state, done = fit(state, progress, source, program, plan, storage, validation)
    seconds = time.perf_counter() - started
    last = int(state.step)
    logger.info("step %d after %.0f s; %d shapes compiled", last, seconds, step.times)
    if progress.skipped:
        logger.warning("%d steps were skipped: not finite", progress.skipped)
    if not done:
        if checkpoints:
            checkpoints.close()
        again = ", without --overwrite_output_dir," * options.overwrite_output_dir
        logger.info("saved in %s; the same command%s goes on from here", folder, again)
        return Trained(state, {}, done=False)

    params, best = state.params, progress.best_step
    if options.load_best_model_at_end and best is not None and best != last:
        try:
            params, last = _restored(checkpoints, state, best)[1].params, best
            logger.info("the best checkpoint is step %d", best)
        except InputError as error:
            logger.warning("%s; so the result is the last step, not the best", error)
    elif best is not None and best != last:
        logger.log(
            logging.INFO if plan.patience is None else logging.WARNING,
            "the saved model is that of step %d; the best was step %d; the same command with "
            "--load_best_model_at_end --allow_changed_options load_best_model_at_end saves that",
            last,
            best,
        )
    scores: Scores = {}
    files: dict[str, Any] = {}
    if checkpoints:
        checkpoints.close()
        model.save(folder, task.export(params, options))
    if validation is not None:
        if validation.step != last:
            validation(parallel.replicate(params), last)
        scores = validation.scores
        files = task.files(held_out, validation.predictions, options, cfg)
    if writes:
        write_results(folder, scores, files)
    logger.info("model and results in %s", folder)
    return Trained(state, scores, done=True)
