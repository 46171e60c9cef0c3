"""What the scripts call: train(task, options) and evaluate(task, options)."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxbert.data.batches import Order, bucket_lengths
from jaxbert.data.features import Features, check_ids
from jaxbert.data.tokenizer import load_tokenizer
from jaxbert.errors import InputError
from jaxbert.files import write_json
from jaxbert.model.config import BertConfig, load_config
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Params, init_params, make_apply
from jaxbert.model.pretrained import load_pretrained, save_pretrained
from jaxbert.options import changed_options, check_training
from jaxbert.tasks import Task
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.loop import Plan, Progress, TrainLog, fit
from jaxbert.training.optim import adamw, is_frozen, make_schedule
from jaxbert.training.parallel import Parallel, make_parallel, rows_for
from jaxbert.training.predict import predict
from jaxbert.training.step import TrainState, init_state, make_predict_step, make_train_step

logger = logging.getLogger("jaxbert")

# All that a run writes in its output directory; --overwrite_output_dir removes nothing else.
_RUN_FILES = (
    "checkpoints options.json train_log.jsonl metrics.json predictions.json nbest_predictions.json "
    "null_odds.json config.json model.safetensors"
).split()
_SAMPLES = 5  # problems that are shown in full


@dataclasses.dataclass(frozen=True)
class Trained:
    """The end of train(): done is False when a signal stopped the run, which is saved."""

    state: TrainState
    scores: dict[str, float]
    done: bool


# --- model and data ---------------------------------------------------------------------------


def load_model(task: Task, options: Any, *, draw_head: bool) -> tuple[BertConfig, Params, Any]:
    """Config, parameters and tokenizer as the options name them."""
    source, config = options.model_name_or_path, options.config_name
    key = jax.random.fold_in(jax.random.key(getattr(options, "seed", 0)), 0)
    if source and config and source != config:
        raise InputError("give --model_name_or_path or --config_name (random weights), not both")
    if source:
        folder = find_model_folder(source)
        cfg, params = load_pretrained(folder, task.head, key=key, draw_head=draw_head)
    elif config:
        path = Path(config).expanduser()
        folder = path.parent if path.is_file() else find_model_folder(config)
        cfg = load_config(path if path.is_file() else folder)
        params = jax.jit(lambda key: init_params(cfg, task.head, key))(key)
        logger.info("%s: all parameters drawn anew", config)
    else:
        raise InputError("give --model_name_or_path, or --config_name for random weights")
    if options.tokenizer_name:
        folder = find_model_folder(options.tokenizer_name)
    return cfg, params, load_tokenizer(folder, vocab_size=cfg.vocab_size)


def _read(task: Task, options: Any, files: list[str] | None, split: str, limit: int | None) -> Any:
    """Examples of a split, and its problems said; None when the options name no data for it."""
    if files:
        data, origin = task.read(files, options.strict), ", ".join(files)
    elif options.dataset_name:
        name, config = options.dataset_name, options.dataset_config_name
        data, origin = task.read_dataset(name, config, split, options.strict), f"{name}[{split}]"
    else:
        return None
    logger.info("%s: %d examples", origin, len(data.examples))
    for problem in data.problems[:_SAMPLES]:
        logger.info("  %s: %s", problem.where, problem.what)
    if len(data.problems) > _SAMPLES:
        logger.info("  ... %d problems in all; --strict stops at the first", len(data.problems))
    return data.examples[:limit] if limit else data.examples


def _encode(task: Task, examples: Any, tokenizer: Any, cfg: BertConfig, options: Any) -> Features:
    features = task.encode(examples, tokenizer, options)
    check_ids(
        features,
        vocab_size=cfg.vocab_size,
        positions=cfg.max_position_embeddings,
        types=cfg.type_vocab_size,
    )
    for note in features.notes:
        logger.info("  %s", note)
    return features


def make_evaluator(
    task: Task, options: Any, cfg: BertConfig, parallel: Parallel, examples: Any, features: Features
) -> Callable[[Any], tuple[dict[str, float], list[Any]]]:
    """A function of replicated params -> (scores, predictions) on these examples."""
    apply = make_apply(
        cfg, task.head, dtype=jnp.dtype(options.dtype), attention=options.attention
    )
    compiled = parallel.compile_predict(make_predict_step(apply, task.reduce(options)))
    size = options.per_device_eval_batch_size * parallel.devices
    buckets = bucket_lengths(64, options.max_seq_length)

    def evaluator(params: Any) -> tuple[dict[str, float], list[Any]]:
        arrays = predict(compiled, params, features, parallel, size=size, buckets=buckets)
        predictions = task.decode(examples, features, arrays, options)
        return task.score(examples, predictions, options), predictions

    return evaluator


def _write_results(
    folder: Path, task: Task, options: Any, examples: Any, predictions: Any, scores: Any
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in task.files(examples, predictions, options).items():
        write_json(folder / name, content)
    write_json(folder / "metrics.json", scores)


def show_scores(scores: dict[str, float]) -> str:
    """The scores in one line: "exact_match 58.21  f1 71.30  total 1584"."""
    return "  ".join(
        f"{n} {v:.2f}" if isinstance(v, float) else f"{n} {v}" for n, v in scores.items()
    )


# --- the output directory ---------------------------------------------------------------------


def saved_options(folder: str | Path) -> dict[str, Any]:
    """What options.json of a run's folder says of its options; {} where there is none."""
    record = _read_record(Path(folder))
    return record["options"] if record else {}


def _read_record(folder: Path) -> dict[str, Any] | None:
    path = folder / "options.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); is it a run of jaxbert?") from None
    if not isinstance(record, dict) or not isinstance(record.get("options"), dict):
        raise InputError(f"{path}: not the record of a run")
    return record


def _check_output(folder: Path, options: Any) -> dict[str, Any] | None:
    """The record of the run in the folder that is to go on; None for a new start."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {folder}: it is a file; give a folder")
    if options.overwrite_output_dir:
        return None
    record = _read_record(folder)
    if record is None:
        if (folder / "checkpoints").exists() or (folder / "model.safetensors").exists():
            raise InputError(
                f"--output_dir {folder}: there is a model but no options.json to go on from; "
                "give another folder or --overwrite_output_dir"
            )
        return None
    changed = changed_options(record["options"], options)
    if changed:
        names = " ".join(line.split(":")[0].removeprefix("--") for line in changed)
        raise InputError(
            f"--output_dir {folder} holds a run with other options: {'; '.join(changed)}; give "
            f"--allow_changed_options {names} to go on with the new ones, or --overwrite_output_dir"
        )
    return record


def _remove_run(folder: Path) -> None:
    for name in _RUN_FILES:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    names = ("jaxbert", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tokenizers")
    return {name: importlib.metadata.version(name) for name in names}


# --- train ------------------------------------------------------------------------------------


def _plan(options: Any, order: Order, metric: str) -> Plan:
    per_epoch = order.steps_per_epoch
    total = options.max_steps if options.max_steps > 0 else round(options.num_train_epochs * per_epoch)
    if total < 1:
        raise InputError("--num_train_epochs and --max_steps leave no step to train")
    return Plan(
        total=total,
        log_every=options.logging_steps,
        eval_every=options.eval_steps or per_epoch,
        save_every=options.save_steps or per_epoch,
        patience=options.early_stopping_patience,
        metric=metric,
    )


def _check_freeze(params: Params, freeze: Sequence[str]) -> None:
    paths = [p for p, _ in jax.tree_util.tree_leaves_with_path(params)]
    names = [tuple(str(part.key) for part in path) for path in paths]  # type: ignore[attr-defined]
    for name in freeze:
        if not any(is_frozen(path, [name]) for path in names):
            modules = sorted({part for path in names for part in path[:2]})
            raise InputError(f"--freeze {name}: no such module; there are {', '.join(modules)}")
    if freeze and all(is_frozen(path, freeze) for path in names):
        raise InputError("--freeze leaves nothing to train")


def train(task: Task, options: Any) -> Trained:
    """Fine-tune, or go on with the run in options.output_dir; writes all results there.

    Raises:
        InputError: something the user gave cannot be used; nothing has been written.
    """
    check_training(options)
    if options.output_dir is None:
        raise InputError("give --output_dir, the folder for the results")
    if options.loss not in task.losses:
        raise InputError(f"--loss {options.loss}: there are {', '.join(task.losses)}")
    folder = Path(options.output_dir).expanduser()
    examples = _read(task, options, options.train_file, "train", options.max_train_samples)
    if examples is None:
        raise InputError("give --train_file or --dataset_name, the data to train on")
    held_out = _read(
        task, options, options.validation_file, "validation", options.max_eval_samples
    )
    options = task.settle(options, held_out or examples)
    metric = options.metric_for_best_model or task.best_metric
    record = _check_output(folder, options)

    cfg, params, tokenizer = load_model(task, options, draw_head=True)
    _check_freeze(params, options.freeze or ())
    features = _encode(task, examples, tokenizer, cfg, options)
    parallel = make_parallel(options.parallel)
    accumulate = options.gradient_accumulation_steps
    # A run keeps its global batch when it goes on with another number of devices.
    rows = options.per_device_train_batch_size * parallel.devices * accumulate
    rows = rows_for(record["rows_per_step"] if record else rows, parallel, accumulate)
    order = Order(
        features.lengths, rows, options.seed, bucket_lengths(options.length_bucket, options.max_seq_length)
    )
    plan = _plan(options, order, metric)
    fingerprint = features.fingerprint()
    if record and record["data"] != fingerprint:
        raise InputError(
            f"--output_dir {folder}: the run was started with other training data or another "
            "tokenizer; give those, or --overwrite_output_dir"
        )

    latest: dict[str, Any] = {}
    evaluate_now = None
    if held_out is not None:
        evaluator = make_evaluator(
            task, options, cfg, parallel, held_out, _encode(task, held_out, tokenizer, cfg, options)
        )

        def evaluate_now(params: Any, step: int) -> dict[str, float]:
            scores, predictions = evaluator(params)
            latest.update(step=step, scores=scores, predictions=predictions)
            if metric not in scores:
                raise InputError(f"--metric_for_best_model {metric}: there are {', '.join(scores)}")
            logger.info("step %d: %s", step, show_scores(scores))
            return scores

    warmup = options.warmup_steps or round(options.warmup_ratio * plan.total)
    schedule = make_schedule(
        options.learning_rate, steps=plan.total, warmup_steps=warmup, decay=options.lr_scheduler_type
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
    compiles = 0
    step = make_train_step(
        make_apply(
            cfg,
            task.head,
            dtype=jnp.dtype(options.dtype),
            remat=options.gradient_checkpointing,
            attention=options.attention,
        ),
        task.losses[options.loss],
        tx,
        accumulate=accumulate,
        measure=task.measure,
        frozen=options.freeze or (),
        axis_name=parallel.axis_name,
    )

    def counted_step(*args: Any) -> Any:  # its body runs once a compiled shape
        nonlocal compiles
        compiles += 1
        return step(*args)

    # Everything the user gave has been read and checked: from here on files are written.
    if options.overwrite_output_dir:
        _remove_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "options.json",
        {
            "task": task.name,
            "options": dataclasses.asdict(options),
            "rows_per_step": rows,
            "data": fingerprint,
            "versions": _versions(),
        },
    )
    checkpoints = Checkpoints(
        folder / "checkpoints", keep=options.save_total_limit, say=logger.info
    )
    state, progress = init_state(params, tx), Progress()
    found = checkpoints.newest()
    if found is not None:
        state, saved = checkpoints.restore(found, state)
        progress = Progress(**saved)
        logger.info("going on from step %d of %d", found, plan.total)
    logger.info(
        "%d steps of %d rows, %d device%s (%s, %s), buckets %s",
        plan.total,
        rows,
        parallel.devices,
        "s" * (parallel.devices > 1),
        jax.default_backend(),
        parallel.name,
        " ".join(map(str, order.buckets)),
    )
    log = TrainLog(folder / "train_log.jsonl", int(state.step))
    started = time.perf_counter()
    state, done = fit(
        state,
        progress,
        plan,
        train_step=parallel.compile_train(counted_step),
        order=order,
        features=features,
        accumulate=accumulate,
        key=jax.random.fold_in(jax.random.key(options.seed), 1),
        schedule=schedule,
        parallel=parallel,
        checkpoints=checkpoints,
        log=log,
        evaluate=evaluate_now,
    )
    log.close()
    logger.info(
        "step %d of %d after %.0f s; %d shapes compiled",
        int(state.step),
        plan.total,
        time.perf_counter() - started,
        compiles,
    )
    if not done:
        checkpoints.close()
        logger.info("saved in %s; the same command goes on from here", folder)
        return Trained(state, {}, done=False)

    params = state.params
    best = progress.best_step
    if options.load_best_model_at_end and best not in (None, int(state.step)):
        params = checkpoints.restore(best, state)[0].params
        logger.info("the best checkpoint is step %d", best)
    checkpoints.close()
    save_pretrained(folder, cfg, params, tokenizer)
    scores: dict[str, float] = {}
    if evaluate_now is not None:
        if params is not state.params or latest.get("step") != int(state.step):
            evaluate_now(parallel.replicate(params), int(state.step))
        scores = latest["scores"]
        _write_results(folder, task, options, held_out, latest["predictions"], scores)
    else:
        write_json(folder / "metrics.json", scores)
    logger.info("model and results in %s", folder)
    return Trained(state, scores, done=True)


# --- evaluate ---------------------------------------------------------------------------------


def evaluate(task: Task, options: Any) -> dict[str, float]:
    """Scores of a fine-tuned folder on a validation file; writes them with the predictions.

    Raises:
        InputError: something the user gave cannot be used; nothing has been written.
    """
    if options.output_dir is None:
        raise InputError("give --output_dir, the folder for the results")
    examples = _read(task, options, options.validation_file, "validation", options.max_eval_samples)
    if examples is None:
        raise InputError("give --validation_file or --dataset_name, the data to evaluate on")
    options = task.settle(options, examples)
    cfg, params, tokenizer = load_model(task, options, draw_head=False)
    features = _encode(task, examples, tokenizer, cfg, options)
    parallel = make_parallel(options.parallel)
    evaluator = make_evaluator(task, options, cfg, parallel, examples, features)
    started = time.perf_counter()
    scores, predictions = evaluator(parallel.replicate(params))
    logger.info("%d examples in %.1f s", len(examples), time.perf_counter() - started)
    _write_results(Path(options.output_dir).expanduser(), task, options, examples, predictions, scores)
    logger.info("%s", show_scores(scores))
    return scores
