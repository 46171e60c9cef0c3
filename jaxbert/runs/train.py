"""What train/ calls: train(task, options)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from filelock import FileLock

from jaxbert.runtime import processes
from jaxbert.runtime.compiled import keep_compiled
from jaxbert.callbacks.guarded_callbacks import GuardedCallbacks, check_callbacks
from jaxbert.callbacks.reports import check_reports, make_reports
from jaxbert.data.features import Features
from jaxbert.data.in_memory import InMemory
from jaxbert.data.packing import Sampler, PackedSampler
from jaxbert.errors import InputError
from jaxbert.runs.evaluate import Evaluator, attention_of, make_evaluator, show_scores
from jaxbert.losses.check import try_loss
from jaxbert.losses.choose import ChosenLoss, choose_loss, with_settings
from jaxbert.losses.user_function import UserFunction
from jaxbert.metrics.scores import LOSS, Scores
from jaxbert.model.config import BertConfig, config_to_dict
from jaxbert.model.heads import Apply, Params, make_apply
from jaxbert.model.pretrained import save_pretrained
from jaxbert.options.values import HARMLESS, check_ranges
from jaxbert.runs.folder import (
    check_data,
    check_loss,
    check_output,
    check_writable,
    fingerprint_of,
    lock_of,
    remove_run,
    take,
    write_record,
    write_results,
)
from jaxbert.runs.plan import best_metrics, make_optimizer, make_sampler, make_plan
from jaxbert.runs.inputs import (
    encode_examples,
    keep_learnable,
    load_model,
    origin_of,
    read_examples,
    read_held_out,
)
from jaxbert.tasks.task import Task
from jaxbert.runs.teacher import Teacher, load_teacher, with_teacher
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.events import Finished, Notify
from jaxbert.training.loop import Plan, Progress, TrainLog, fit, micro_batches
from jaxbert.training.optim import is_frozen
from jaxbert.training.parallel import Parallel, make_parallel, rows_for
from jaxbert.training.step import TrainState, init_state, make_train_step

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class Trained:
    """The end of train(): done is False when a signal stopped the run, which is saved.

    Attributes:
        evaluations: one record an evaluation, also of those before the run was resumed.
    """

    state: TrainState
    scores: Scores
    done: bool
    evaluations: list[dict[str, float | str]]


@dataclasses.dataclass(frozen=True)
class FromPython:
    """What a Python program can give a run beside settings.

    Attributes:
        train_rows, validation_rows: in place of the data that the settings name.
        loss: in place of the one that they name.
        callbacks: called with every event of the run, in the first process.
    """

    train_rows: InMemory | None = None
    validation_rows: InMemory | None = None
    loss: UserFunction | None = None
    callbacks: Sequence[Notify] = ()


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
        self, params: Any, step: int, stopped: Callable[[], bool] = lambda: False
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
    check_reports(options.report_to)
    if not options.output_dir:
        raise InputError("give --output_dir, the folder for the results")
    names = {field.name for field in dataclasses.fields(options)}
    unknown = set(options.allow_changed_options or ()) - names
    if unknown:
        raise InputError(f"--allow_changed_options {' '.join(sorted(unknown))}: no such option")
    if options.packing and not task.packs:
        raise InputError(f"--packing is not for {task.name}, whose rows have several texts already")
    known = (*task.best_metrics, LOSS)
    if other := set(best_metrics(task, options)) - set(known):
        raise InputError(f"--metric_for_best_model {' '.join(other)}: give {', '.join(known)}")


def _names(order: Sampler, features: Features, examples: Any, step: int) -> list[str]:
    """What the examples of a step are called: their ids, or their numbers in the data."""
    windows, _ = order.batch(step - 1)
    found = dict.fromkeys(features.example[windows[windows >= 0]].tolist())
    return [str(getattr(examples[n], "id", f"number {n + 1}")) for n in found]


def _teacher_of(
    loss: ChosenLoss, task: Task, options: Any, cfg: BertConfig, tokenizer: Any
) -> Teacher | None:
    """The model that the loss's options name, if they do."""
    if "teacher" not in loss.args:
        return None
    first = None if loss.own else bool(loss.args.get("hidden"))
    return load_teacher(loss.args["teacher"], task, options, cfg, tokenizer, first=first)


def _announce(plan: Plan, order: Sampler, features: Features, parallel: Parallel) -> None:
    """Say how long the run is, of what rows, and on what."""
    devices = f"{parallel.devices} device{'s' * (parallel.devices > 1)}"
    where = f"{devices} ({jax.default_backend()}, {parallel.name})"
    what = f"{order.rows} rows of {' '.join(map(str, order.buckets))} tokens"
    if isinstance(order, PackedSampler):
        what += f" with {len(features) / order.steps_per_epoch:.1f} windows on average"
    logger.info("%d steps of %s on %s", plan.total, what, where)
    logger.info("  %.1f %% of the tokens are padding", 100 * order.padding())


def _trained_model(task: Task, options: Any, cfg: BertConfig, order: Sampler) -> Apply:
    """The model as training computes it."""
    kernel, why = attention_of(options, cfg, order)
    logger.info("  attention by %s: %s", kernel, why)
    return make_apply(
        cfg,
        task.head,
        dtype=jnp.dtype(options.dtype),
        remat=options.gradient_checkpointing,
        attention=kernel,
        scan=options.scan_layers,
    )


def _train_step(
    task: Task,
    options: Any,
    apply: Apply,
    loss: ChosenLoss,
    tx: optax.GradientTransformation,
    parallel: Parallel,
) -> tuple[Callable[..., Any], Callable[[], int]]:
    """The compiled step, and a function that tells how many shapes have been compiled."""
    step = make_train_step(
        apply,
        loss.function,
        tx,
        accumulate=options.gradient_accumulation_steps,
        measure=task.measure,
        frozen=options.freeze or (),
        axis_name=parallel.axis_name,
    )
    traced = 0

    def counted(*args: Any) -> Any:  # its body runs once a compiled shape
        nonlocal traced
        traced += 1
        return step(*args)

    return parallel.compile_train(counted), lambda: traced


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


def train(task: Task, options: Any, given: FromPython = FromPython()) -> Trained:
    """Fine-tune, or go on with the run in options.output_dir; writes all results there.

    Raises:
        InputError: something the user gave cannot be used; nothing has been written.
    """
    _check(task, options)
    check_callbacks(given.callbacks)
    loss = choose_loss(task.losses, options.loss, options.loss_args, given.loss)
    processes.join(options.coordinator_address, options.num_processes, options.process_id)
    own = {n: x for n, x in dataclasses.asdict(options).items() if n not in HARMLESS}
    processes.check_alike("options", own)
    folder = Path(options.output_dir).expanduser()
    lock = lock_of(folder)
    try:
        return _train(task, options, given, loss, folder, lock)
    finally:
        lock.release(force=True)


def _train(
    task: Task, options: Any, given: FromPython, loss: ChosenLoss, folder: Path, lock: FileLock
) -> Trained:
    processes.from_first(lambda: check_writable(folder))
    if options.compilation_cache_dir:
        keep_compiled(options.compilation_cache_dir)
    data = read_examples(task, options, "train", given.train_rows)
    if data is None:
        raise InputError("give --train_file or --dataset_name, the data to train on")
    examples = data.examples
    held_out = read_held_out(task, options, given.validation_rows)
    options = task.resolve(options, examples, held_out)
    job, teacher_name = processes.job(), loss.args.get("teacher")
    record = processes.from_first(
        lambda: check_output(folder, task.name, options, teacher=teacher_name, job=job)
    )
    if record:  # before anything is read that takes long
        processes.from_first(lambda: take(lock, folder, record, options))

    cfg, params, tokenizer = load_model(task, options, data)
    if cfg.id2label:
        shown = ", ".join(cfg.id2label[:12]) + ", ..." * (len(cfg.id2label) > 12)
        logger.info("  %d outputs: %s", len(cfg.id2label), shown)
    _check_freeze(params, options.freeze or ())
    features = encode_examples(task, examples, tokenizer, cfg, options)
    features = keep_learnable(features, origin_of(options, given.train_rows))
    parallel = make_parallel(options.parallel)
    accumulate = options.gradient_accumulation_steps
    parts = parallel.devices * accumulate
    order = make_sampler(options, features.lengths, cfg.hidden_size, parts, record)
    rows_for(order.rows, parallel, accumulate)
    plan = make_plan(task, options, order)
    # The problem type is in the data's own fingerprint, and earlier versions did not keep it.
    shape = config_to_dict(dataclasses.replace(cfg, problem_type=None))
    prints = {"train": features.fingerprint(), "model": fingerprint_of(shape)}
    validation = None
    if held_out is not None:
        held_out_features = encode_examples(task, held_out, tokenizer, cfg, options)
        evaluator = make_evaluator(
            task, options, cfg, tokenizer, parallel, held_out, held_out_features
        )
        if best_metrics(task, options) == (LOSS,) and not any(map(task.learnable, held_out)):
            raise InputError(
                f"--metric_for_best_model {options.metric_for_best_model}: the validation data "
                "have no example whose label is known and found, so they have no eval_loss; give "
                "another score"
            )
        validation = _Validation(evaluator)
        prints["validation"] = fingerprint_of(held_out)
    teacher = _teacher_of(loss, task, options, cfg, tokenizer)
    if teacher is not None:
        prints["teacher"] = teacher.fingerprint()
    processes.check_alike("data", prints)
    processes.check_alike("losses", [loss.source, dict(loss.values)])
    allowed = options.allow_changed_options or ()
    processes.from_first(lambda: check_data(folder, record, prints, allowed))
    if loss.own:
        processes.from_first(lambda: check_loss(folder, record, options, loss.source, loss.values))
    tx, schedule = make_optimizer(options, plan.total)
    if teacher is not None:
        features = with_teacher(features, teacher, task, options, parallel)
    apply = _trained_model(task, options, cfg, order)
    corrupt = task.corrupt(options, tokenizer, cfg) if task.corrupt else None
    key = jax.random.fold_in(jax.random.key(options.seed), 1)
    loss = with_settings(loss, task.loss_settings(options, cfg))
    first_step = next(micro_batches(order, features, corrupt, range(1), accumulate))
    try_loss(
        loss,
        apply,
        params,
        {n: x[0][: x.shape[1] // parallel.devices] for n, x in first_step.items()},
        features,
        order.buckets,
        corrupt,
        key,
        packing=options.packing,
        tolerance=1e-3 if options.dtype == "float32" else 2e-2,
    )
    step, compiled = _train_step(task, options, apply, loss, tx, parallel)

    state, progress = jax.device_get(init_state(params, tx)), Progress()
    # Everything the user gave has been read and checked: from here on files are written.
    processes.from_first(lambda: take(lock, folder, record, options))
    writes = processes.is_first()
    tell = functools.partial(
        write_record,
        folder,
        task.name,
        options,
        rows_per_step=order.rows,
        data=prints,
        loss=loss.source,
        loss_values=loss.values,
        job=job,
        row_length=max(order.buckets),
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
    _announce(plan, order, features, parallel)
    callbacks = [*given.callbacks, *make_reports(options.report_to, folder, progress.options)]
    notify = GuardedCallbacks(callbacks if writes else ())
    started = time.perf_counter()
    with contextlib.ExitStack() as opened:
        log = None
        if writes:
            retry_on_error = options.save_errors == "retry"
            log = TrainLog(folder / "train_log.jsonl", int(state.step), retry_on_error=retry_on_error)
            opened.enter_context(log)
        state, done = fit(
            state,
            progress,
            plan,
            train_step=step,
            order=order,
            features=features,
            corrupt=corrupt,
            accumulate=accumulate,
            key=key,
            schedule=schedule,
            parallel=parallel,
            checkpoints=checkpoints,
            log=log,
            evaluate=validation,
            name_examples=functools.partial(_names, order, features, examples),
            notify=notify,
        )
    seconds = time.perf_counter() - started
    last = int(state.step)
    logger.info("step %d after %.0f s; %d shapes compiled", last, seconds, compiled())
    if progress.skipped:
        logger.warning("%d steps were skipped: not finite", progress.skipped)
    if not done:
        if checkpoints:
            checkpoints.close()
        again = ", without --overwrite_output_dir," * options.overwrite_output_dir
        logger.info("saved in %s; the same command%s goes on from here", folder, again)
        notify(Finished(last, {}, done=False))
        return Trained(state, {}, False, progress.evaluations)

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
        save_pretrained(folder, cfg, task.export(params, options), tokenizer, head=task.head)
    if validation is not None:
        if validation.step != last:
            validation(parallel.replicate(params), last)
        scores = validation.scores
        files = task.files(held_out, validation.predictions, options, cfg)
    if writes:
        write_results(folder, scores, files)
    logger.info("model and results in %s", folder)
    notify(Finished(last, scores, done=True))
    return Trained(state, scores, True, progress.evaluations)
