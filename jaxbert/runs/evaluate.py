"""evaluate(task_cls, options): scores and predictions; and the evaluator that a training has."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import jax
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.features import Features
from jaxbert.data.in_memory import InMemory
from jaxbert.data.rows import Data, names_of
from jaxbert.data.sampling import NumpyBatch, bucket_lengths, by_length
from jaxbert.errors import InputError
from jaxbert.loaded.model import LoadedModel, Reduce
from jaxbert.losses.forms import Arrays, Loss
from jaxbert.metrics.scores import LOSS, Scores
from jaxbert.metrics.user_metrics import UserMetric
from jaxbert.model.folders import folder_of
from jaxbert.model.heads import Params
from jaxbert.options.keyword_groups import EncodingKeywords
from jaxbert.options.settings import EvaluationOptions
from jaxbert.runs.collected_predictions import collected
from jaxbert.runs.encoding import encode_examples
from jaxbert.runs.folder import publish_results
from jaxbert.runs.inputs import (
    check_labels,
    load_model,
    read_examples,
)
from jaxbert.runs.place import place_of
from jaxbert.runs.predict_rows import as_dicts
from jaxbert.runs.record import check_task, versions
from jaxbert.runs.run_report import (
    Evaluation,
    command_of,
    evaluation_page,
    machine_facts,
    write_report,
)
from jaxbert.runs.saved import read_calibration
from jaxbert.runtime import host, processes
from jaxbert.runtime.compiled import keep_compiled
from jaxbert.tasks.task import EVALUATION, E, P, S, Task
from jaxbert.training.window_arrays import WindowArrays

logger = logging.getLogger("jaxbert")

T = TypeVar("T")

# A Reduce of what is on the host.
_OnHost: TypeAlias = Callable[[dict[str, np.ndarray], NumpyBatch], Arrays]
# Of each window, beside what the task keeps of it.
_SUM, _WEIGHT = "loss_sum", "loss_weight"
_IN_MEMORY: EncodingKeywords = {"cache_dir": None, "workers": None}
_TRIED = 32  # examples on which metrics are tried


class Evaluator(Generic[S, E, P]):
    """Scores and predictions of a model on examples, for any parameters.

    Args:
        task: fitted to the examples.
        features: of the examples.
        size: rows of a batch, over all devices.
        buckets: the lengths that rows are padded to.
        metrics: of a Python program, after the task's scores.

    Raises:
        InputError: a metric has the name of a score of the task.
    """

    def __init__(
        self,
        task: Task[S, E, P],
        model: LoadedModel,
        examples: Sequence[E],
        features: Features,
        *,
        size: int,
        buckets: Sequence[int],
        metrics: Sequence[UserMetric] = (),
    ) -> None:
        self._task, self._model, self._metrics = task, model, metrics
        _check_new(metrics, task.metric_names())
        self._examples, self._features = examples, features
        self._size, self._buckets = size, buckets
        kernel, why = model.attention_for(buckets)
        if kernel != "xla":
            logger.info("  attention of evaluations by %s: %s", kernel, why)
        self._labelled = task.label_of(examples[0]) is not None
        self._reduce: Reduce = task.reduce()
        # Where windows are learned together, the loss is one of what they are pooled to.
        self._loss_of_pooled: _OnHost | None = None
        if self._labelled and task.weighs_windows:
            self._loss_of_pooled = jax.jit(WithLoss(task.evaluation_loss(), _nothing))
        elif self._labelled:
            self._reduce = WithLoss(task.evaluation_loss(), self._reduce)
        self._learnable = np.fromiter(map(task.learnable, examples), bool)[features.example]
        self._corrupt = task.corrupt(model.tokenizer, model.cfg, seed=0)  # as in all runs

    def __call__(
        self, params: Params | None = None, stopped: Callable[[], bool] = lambda: False
    ) -> tuple[Scores, Sequence[P]] | None:
        """Scores and predictions; None when stopped() became true.

        Args:
            params: replicated, in place of the model's own.

        Raises:
            InputError: the predictions have no score.
        """
        task, cfg = self._task, self._model.cfg
        arrays = self._model.predict(
            self._features,
            self._reduce,
            size=self._size,
            buckets=self._buckets,
            params=params,
            corrupt=self._corrupted if self._corrupt else None,
            stopped=stopped,
        )
        if arrays is None:
            return None
        sums = []
        if self._loss_of_pooled is not None:
            sums = self._losses_of_pooled(self._loss_of_pooled, arrays)
        elif self._labelled:
            sums = [arrays.pop(name)[self._learnable] for name in (_SUM, _WEIGHT)]
        predictions = collected(self._decoded(arrays))
        if not self._labelled:
            return {}, predictions
        try:
            scores = task.score(self._examples, predictions, cfg)
        except ValueError as error:  # of a model whose outputs overflow
            raise InputError(f"the predictions have no score: {error}") from error
        scores = {**scores, **_mean_loss(*sums)}
        _check_new(self._metrics, scores)
        return {**scores, **self._user_scores(predictions)}, predictions

    def _losses_of_pooled(self, with_loss: _OnHost, arrays: WindowArrays) -> list[np.ndarray]:
        """Of each example the sum and the weight of its loss, (N,)."""
        found: list[tuple[np.ndarray, np.ndarray]] = []
        parts = self._task.parts(self._examples, self._features, arrays)
        for some, part, kept in self._giving_back(parts, arrays):
            outputs, rows = self._task.pooled(part, kept)
            size = 1 << (len(some) - 1).bit_length()  # few shapes are compiled
            full = {n: np.resize(x, (size, *x.shape[1:])) for n, x in (outputs | rows).items()}
            sums = with_loss({n: full[n] for n in outputs}, {n: full[n] for n in rows})
            found.append(
                (np.asarray(sums[_SUM])[: len(some)], np.asarray(sums[_WEIGHT])[: len(some)])
            )
        return [np.concatenate(column) for column in zip(*found, strict=True)]

    def _decoded(self, arrays: WindowArrays) -> Iterator[Sequence[P]]:
        """The predictions part by part."""
        task, cfg = self._task, self._model.cfg
        parts = task.decode_parts(self._examples, self._features, arrays, cfg)
        return self._giving_back(parts, arrays)

    def _giving_back(self, parts: Iterable[T], arrays: WindowArrays) -> Iterator[T]:
        """The parts; what has been read of files for one is given back behind it."""
        for part in parts:
            yield part
            processes.beat()
            self._features.forget()
            arrays.forget()

    def _user_scores(self, predictions: Sequence[P]) -> dict[str, float]:
        """Those of the metrics, as the first process computes them; what is not finite is left out,
        as eval_loss is."""
        if not self._metrics:
            return {}
        found = processes.from_first(
            functools.partial(_values, self._metrics, self._examples, predictions)
        )
        for name, value in found.items():
            if not math.isfinite(value):
                logger.warning("the metric %s is %s; it is left out of the scores", name, value)
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def try_metrics(self, params: Params) -> None:
        """Call the metrics on a few of the examples, to tell what is wrong with them in time.

        Args:
            params: replicated.

        Raises:
            InputError: one fails, or returns something else than a number, or has the name of a
                score of the task.
        """
        task, cfg = self._task, self._model.cfg
        numbers = np.linspace(0, len(self._examples) - 1, min(_TRIED, len(self._examples)))
        few = [self._examples[n] for n in numbers.astype(int)]
        features = task.encode(few, self._model.tokenizer, cfg)
        arrays = self._model.predict(
            features,
            self._reduce,
            size=self._size,
            buckets=self._buckets,
            params=params,
            corrupt=self._corrupted if self._corrupt else None,
        )
        assert arrays is not None  # nothing stops it
        kept = {name: x for name, x in arrays.items() if name not in (_SUM, _WEIGHT)}
        predictions = task.decode(few, features, kept, cfg)
        scores: Scores = {}
        with contextlib.suppress(ValueError):  # of few examples there may be none
            scores = task.score(few, predictions, cfg)
        _check_new(self._metrics, scores)
        try:
            processes.from_first(functools.partial(_values, self._metrics, few, predictions))
        except InputError as error:
            raise InputError(
                f"{error} (tried on {len(few)} of the validation examples; return float('nan') "
                "where it is undefined)"
            ) from None

    def _corrupted(self, batch: NumpyBatch) -> NumpyBatch:
        assert self._corrupt is not None
        return self._corrupt(batch, EVALUATION)


def _check_new(metrics: Sequence[UserMetric], scores: Container[str]) -> None:
    for metric in metrics:
        if metric.name in scores:
            raise InputError(f"metrics {metric.name}: the task has a score of this name; rename it")


def _values(
    metrics: Sequence[UserMetric], examples: Sequence[E], predictions: Sequence[P]
) -> dict[str, float]:
    """The value of each metric, on records of its own: a function may change what it is given."""
    return {
        metric.name: metric.value(as_dicts(examples, predictions), as_dicts(examples, examples))
        for metric in metrics
    }


@dataclasses.dataclass(frozen=True)
class WithLoss:
    """`reduce`, and of each window the loss's loss_sum and loss_weight (B,)."""

    loss: Loss
    reduce: Reduce

    def __call__(self, outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        # Of multiple choice the hidden states have other rows, and no plain loss reads them.
        of_rows = {n: x for n, x in outputs.items() if n != "last_hidden_state"}
        loss_sum, weight_sum = jax.vmap(self._of_one)(of_rows, batch)
        return {**self.reduce(outputs, batch), _SUM: loss_sum, _WEIGHT: weight_sum}

    def _of_one(self, outputs: Arrays, batch: Batch[jax.Array]) -> tuple[jax.Array, jax.Array]:
        one, labels = jax.tree.map(lambda x: x[None], (outputs, batch))
        loss_sum, weight_sum = self.loss(one, labels)
        return loss_sum, weight_sum


def _nothing(outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
    return {}


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


class Effort(NamedTuple):
    """What an evaluation took: windows, rows of a batch, the lengths that rows were padded to, the
    part of the tokens that is padding, seconds."""

    windows: int
    rows: int
    row_lengths: Sequence[int]
    padding: float
    seconds: float


def assess(
    task: Task[S, E, P],
    model: LoadedModel,
    examples: Sequence[E],
    *,
    per_device_eval_batch_size: int,
    length_bucket: int,
    metrics: Sequence[UserMetric] = (),
    encoding: EncodingKeywords = _IN_MEMORY,
) -> tuple[Scores, Sequence[P], Effort]:
    """The scores of a model on examples, its predictions, and what they took.

    Args:
        task: fitted to the examples.
    """
    features = encode_examples(task, examples, model.tokenizer, model.cfg, **encoding)
    size = per_device_eval_batch_size * model.compute.parallel.devices
    buckets = bucket_lengths(length_bucket, task.settings.max_seq_length)
    logger.info("  attention by %s: %s", *model.attention_for(buckets))
    evaluator = Evaluator(
        task, model, examples, features, size=size, buckets=buckets, metrics=metrics
    )
    started = time.perf_counter()
    result = evaluator()
    assert result is not None  # nothing stops it
    seconds = time.perf_counter() - started
    logger.info("%d examples in %.1f s", len(examples), seconds)
    batches = by_length(features.lengths, size, buckets)
    tokens = sum(len(windows) * length for windows, length in batches)
    lengths = tuple(sorted({length for _, length in batches}))
    padding = 1 - int(features.lengths.sum()) / tokens
    return *result, Effort(len(features), size, lengths, padding, seconds)


def _took(effort: Effort, examples: int) -> dict[str, str]:
    """What an evaluation took, to be shown."""
    speed = f"{examples / effort.seconds:.1f}" if effort.seconds else ""
    return {
        "examples": f"{examples}, in {effort.windows} windows",
        "time": f"{effort.seconds:.1f} s, {speed} examples a second",
        "shapes": f"batches of {effort.rows} rows of {' '.join(map(str, effort.row_lengths))}",
        "padding": f"{100 * effort.padding:.1f} % of the tokens",
    }


def _asked_for(columns: str | list[str] | None) -> list[str]:
    """The columns of labels that the user names; those of the training may be missing, and have a
    question mark."""
    names = [columns] if isinstance(columns, str) else columns or []
    return [] if any(name.endswith("?") for name in names) else names


def _without_labels(data: Data[E]) -> str:
    """The line in place of scores; the column of labels may have another name."""
    line = "no labels, so no scores"
    if not data.columns:
        return line
    return f"{line}; the columns are {names_of(data.columns)} (see --label_column_name)"


@dataclasses.dataclass(frozen=True)
class Assessed(Generic[E, P]):
    """Examples with the predictions of a model for them, and its scores."""

    examples: Sequence[E]
    scores: Scores
    predictions: Sequence[P]


def evaluate(
    task_cls: type[Task[S, E, P]],
    options: EvaluationOptions,
    rows: InMemory | None = None,
    metrics: Sequence[UserMetric] = (),
) -> Assessed[E, P]:
    """Scores and predictions of a fine-tuned folder on data; written where there is an output_dir.

    Args:
        options: of the task's evaluation.
        rows: the data, in place of what the options name.
        metrics: of a Python program, after the task's scores.

    Raises:
        InputError: something the user gave cannot be used; nothing has been written.
    """
    if others := set(options.report_to or ()) - {"none"}:
        raise InputError(
            f"--report_to {' '.join(sorted(others))}: an evaluation has no curves to send; leave "
            "it out, or give none"
        )
    processes.join(options.coordinator_address, options.num_processes, options.process_id)
    if options.output_dir:
        place = place_of(options.output_dir)
        processes.from_first(place.check_writable)
    if options.compilation_cache_dir:
        keep_compiled(options.compilation_cache_dir)
    folder = folder_of(options.model_name_or_path) if options.model_name_or_path else None
    if folder is not None:
        check_task(folder, task_cls.name)
    task = task_cls(options.part(task_cls.settings_cls))
    data = read_examples(task, options.validation_source(), rows, cache_dir=options.cache_dir)
    if data is None:
        raise InputError("give --validation_file or --dataset_name, the data to evaluate on")
    examples = data.examples
    if asked := _asked_for(getattr(options, "label_column_name", None)):
        check_labels(task, data, "evaluation", asked)
    if folder is not None:
        fitted, ids = read_calibration(folder)
        fitted.pop("version_2_with_negative", None)
        in_use = any(getattr(options, n, None) == value for n, value in fitted.items())
        if in_use and (seen := sum(getattr(e, "id", None) in ids for e in examples)):
            logger.warning(
                "%d of the %d questions are those that the threshold and the temperature were "
                "fitted to; the scores flatter",
                seen,
                len(examples),
            )
    task = task.fit_to(None, examples)
    if metrics and task.label_of(examples[0]) is None:
        raise InputError(f"metrics {metrics[0].name}: the data have no labels to score with")
    model = load_model(task, options)
    scores, predictions, effort = assess(
        task,
        model,
        examples,
        per_device_eval_batch_size=options.per_device_eval_batch_size,
        length_bucket=options.length_bucket,
        metrics=metrics,
        encoding=options.encoding(),
    )
    files = task.artifacts(examples, predictions, model.cfg)
    if options.output_dir and processes.is_first():
        publish_results(place, scores, files)
        if not options.report_to:
            shown = task.with_vocabulary(model.tokenizer)
            found = Evaluation(
                task.name,
                task.all_metrics(),
                scores,
                functools.partial(shown.findings, examples, predictions, model.cfg),
            )
            write_report(
                place,
                lambda: evaluation_page(
                    found,
                    _took(effort, len(examples)),
                    command_of("eval", task.name, options.as_words(), in_python=rows is not None),
                    machine_facts(versions(), host.describe()),
                ),
            )
    logger.info("%s", show_scores(scores) or _without_labels(data))
    return Assessed(examples, scores, predictions)
