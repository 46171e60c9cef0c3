"""What eval/ calls: evaluate(task, options); and the evaluator that a training has too."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.runtime import processes
from jaxbert.runtime.compiled import keep_compiled
from jaxbert.data.sampling import NumpyBatch, bucket_lengths
from jaxbert.data.features import Features
from jaxbert.data.in_memory import InMemory
from jaxbert.data.packing import Sampler, PackedSampler
from jaxbert.data.rows import Data, names_of
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays, Loss
from jaxbert.metrics.scores import LOSS, Scores
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import make_apply
from jaxbert.model.kernels import choose_attention
from jaxbert.options.values import check_ranges
from jaxbert.runs.folder import check_task, check_writable, read_calibration, write_results
from jaxbert.runs.inputs import encode_examples, load_model, read_examples
from jaxbert.tasks.task import EVALUATION, Task
from jaxbert.training.parallel import Parallel, make_parallel
from jaxbert.training.predict import predict
from jaxbert.training.step import make_predict_step

logger = logging.getLogger("jaxbert")

Evaluator = Callable[..., tuple[Scores, list[Any]] | None]


def attention_of(options: Any, cfg: BertConfig, order: Sampler | None = None) -> tuple[str, str]:
    """The backend of attention, and why it is that one; auto where an evaluation of a training
    has other rows than the backend asked for can take.

    Args:
        order: of the batches to train on; without it, for predictions.
    """
    lengths = bucket_lengths(options.length_bucket, options.max_seq_length)
    choose = functools.partial(
        choose_attention,
        dtype=options.dtype,
        head_size=cfg.head_size,
        multiple=math.gcd(*(order.buckets if order else lengths)),
        packed=isinstance(order, PackedSampler),
        dropout=cfg.attention_probs_dropout_prob if order else 0.0,
    )
    try:
        return choose(options.attention)
    except InputError:
        if order or not getattr(options, "packing", False):
            raise
        return choose("auto")


def make_evaluator(
    task: Task,
    options: Any,
    cfg: BertConfig,
    tokenizer: Any,
    parallel: Parallel,
    examples: Any,
    features: Features,
) -> Evaluator:
    """A function (replicated params, stopped) -> (scores, predictions) on these examples.

    It gives None when stopped() became true; see predict.
    """
    kernel, why = attention_of(options, cfg)
    if kernel != "xla":
        logger.info("  attention of evaluations by %s: %s", kernel, why)
    apply = make_apply(cfg, task.head, dtype=jnp.dtype(options.dtype), attention=kernel)
    labelled = task.label_of is None or task.label_of(examples[0]) is not None
    reduce = task.reduce(options)
    if labelled:
        plain = task.evaluation_loss
        loss = plain(options) if plain else next(iter(task.losses.values()))
        reduce = with_loss(loss, reduce)
    learnable = np.array([task.learnable(e) for e in examples])[features.example]
    compiled = parallel.compile_predict(make_predict_step(apply, reduce))
    size = options.per_device_eval_batch_size * parallel.devices
    buckets = bucket_lengths(options.length_bucket, options.max_seq_length)
    corrupt = task.corrupt(options, tokenizer, cfg) if task.corrupt else None

    def prepare(batch: NumpyBatch) -> NumpyBatch:
        return corrupt(batch, EVALUATION) if corrupt else batch

    def evaluator(
        params: Any, stopped: Callable[[], bool] = lambda: False
    ) -> tuple[Scores, list[Any]] | None:
        arrays = predict(
            compiled,
            params,
            features,
            parallel,
            size=size,
            buckets=buckets,
            prepare=prepare,
            stopped=stopped,
        )
        if arrays is None:
            return None
        sums = [arrays.pop(name)[learnable] for name in (_SUM, _WEIGHT)] if labelled else []
        predictions = task.decode(examples, features, arrays, options, cfg)
        if not labelled:
            return {}, predictions
        try:
            scores = task.score(examples, predictions, options, cfg)
        except ValueError as error:  # of a model whose outputs overflow
            raise InputError(f"the predictions have no score: {error}") from error
        return {**scores, **_mean_loss(*sums)}, predictions

    return evaluator


# Of each window, beside what the task keeps of it.
_SUM, _WEIGHT = "loss_sum", "loss_weight"


def with_loss(
    loss: Loss, reduce: Callable[[Arrays, Arrays], Arrays]
) -> Callable[[Arrays, Arrays], Arrays]:
    """`reduce`, and of each window the loss's loss_sum and loss_weight (B,)."""

    def of_one(outputs: Arrays, batch: Arrays) -> tuple[jax.Array, jax.Array]:
        one, labels = ({n: x[None] for n, x in arrays.items()} for arrays in (outputs, batch))
        loss_sum, weight_sum = loss(one, labels)
        return loss_sum, weight_sum

    def reduced(outputs: Arrays, batch: Arrays) -> Arrays:
        # Of multiple choice the hidden states have other rows, and no plain loss reads them.
        of_rows = {n: x for n, x in outputs.items() if n != "last_hidden_state"}
        loss_sum, weight_sum = jax.vmap(of_one)(of_rows, batch)
        return {**reduce(outputs, batch), _SUM: loss_sum, _WEIGHT: weight_sum}

    return reduced


def _mean_loss(loss_sum: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """eval_loss; nothing where no window has a label. math.fsum: in any order it is the same."""
    total = math.fsum(weight.tolist())
    if not total:
        return {}
    if not np.isfinite(loss_sum).all():
        logger.warning("the evaluation's loss is not finite; it is left out of the scores")
        return {}
    return {LOSS: math.fsum(loss_sum.tolist()) / total}


def show_scores(scores: Scores) -> str:
    """The scores in one line: "exact_match 58.21  f1 71.3  total 1584"."""
    return "  ".join(
        f"{n} {v:.4g}" if isinstance(v, float) else f"{n} {v}" for n, v in scores.items()
    )


def assess(task: Task, options: Any, examples: Any) -> tuple[BertConfig, Scores, list[Any]]:
    """The config of the model that the options name, its scores on examples, and its predictions.

    Args:
        options: resolved, see Task.
    """
    cfg, params, tokenizer = load_model(task, options)
    features = encode_examples(task, examples, tokenizer, cfg, options)
    parallel = make_parallel(options.parallel)
    logger.info("  attention by %s: %s", *attention_of(options, cfg))
    evaluator = make_evaluator(task, options, cfg, tokenizer, parallel, examples, features)
    started = time.perf_counter()
    result = evaluator(parallel.replicate(params))
    assert result is not None  # nothing stops it
    logger.info("%d examples in %.1f s", len(examples), time.perf_counter() - started)
    return cfg, *result


def _check_asked(asked: str | list[str] | None, where: str) -> None:
    """Refuse data without labels where the user names their column; the training's may be missing,
    and has a question mark."""
    names = [asked] if isinstance(asked, str) else asked or []
    if names and not any(name.endswith("?") for name in names):
        raise InputError(
            f"{where}: --label_column_name {' '.join(names)}: no row has a label, so there is "
            "nothing to score; without that flag there are predictions alone"
        )


def _without_labels(data: Data[Any]) -> str:
    """The line in place of scores; the column of labels may have another name."""
    line = "no labels, so no scores"
    if not data.columns:
        return line
    return f"{line}; the columns are {names_of(data.columns)} (see --label_column_name)"


def evaluate(task: Task, options: Any) -> Scores:
    """Scores of a fine-tuned folder on a validation file; writes them with the predictions.

    Raises:
        InputError: something the user gave cannot be used; nothing has been written.
    """
    check_ranges(options)
    if not options.output_dir:
        raise InputError("give --output_dir, the folder for the results")
    return assess_data(task, options).scores


class Assessed(NamedTuple):
    """Examples with the predictions of a model for them, and its scores."""

    examples: Any
    scores: Scores
    predictions: list[Any]


def assess_data(task: Task, options: Any, rows: InMemory | None = None) -> Assessed:
    """The same; it writes where there is an output_dir.

    Args:
        rows: the data, in place of what the options name.
    """
    check_ranges(options)
    processes.join(options.coordinator_address, options.num_processes, options.process_id)
    if options.output_dir:
        processes.from_first(lambda: check_writable(Path(options.output_dir).expanduser()))
    if options.compilation_cache_dir:
        keep_compiled(options.compilation_cache_dir)
    if options.model_name_or_path:
        check_task(Path(options.model_name_or_path).expanduser(), task.name)
    data = read_examples(task, options, "validation", rows)
    if data is None:
        raise InputError("give --validation_file or --dataset_name, the data to evaluate on")
    examples = data.examples
    if task.label_of is not None and task.label_of(examples[0]) is None:
        _check_asked(getattr(options, "label_column_name", None), examples[0].where)
    if options.model_name_or_path:
        fitted, ids = read_calibration(Path(options.model_name_or_path).expanduser())
        found = {n: v for n, v in fitted.items() if n != "version_2_with_negative"}
        in_use = any(getattr(options, n, None) == value for n, value in found.items())
        if in_use and (seen := sum(getattr(e, "id", None) in ids for e in examples)):
            logger.warning(
                "%d of the %d questions are those that the threshold and the temperature were "
                "fitted to; the scores flatter",
                seen,
                len(examples),
            )
    options = task.resolve(options, None, examples)
    cfg, scores, predictions = assess(task, options, examples)
    files = task.files(examples, predictions, options, cfg)
    if options.output_dir and processes.is_first():
        write_results(Path(options.output_dir).expanduser(), scores, files)
    logger.info("%s", show_scores(scores) or _without_labels(data))
    return Assessed(examples, scores, predictions)
