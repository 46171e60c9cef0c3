"""The first phase of a training: all that it is made of, read and checked; nothing is written."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, Generic, TypeAlias

import jax
import optax

from jaxbert.compiling.training_step import TrainingStep
from jaxbert.data.features import Features, with_view
from jaxbert.data.in_memory import InMemory
from jaxbert.data.packing import Sampler
from jaxbert.data.row_columns import CellCollector, RowColumns
from jaxbert.data.rows import Data
from jaxbert.data.rows_of_windows import window_lengths
from jaxbert.data.sampling import bucket_lengths
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.loaded.model import LoadedModel
from jaxbert.losses.choose import ChosenLoss
from jaxbert.losses.own_params import of_model, with_loss_params
from jaxbert.metrics.scores import LOSS, Metric, Scores
from jaxbert.metrics.user_metrics import UserMetric
from jaxbert.model.config import config_to_dict
from jaxbert.model.heads import Params
from jaxbert.model.lora import Lora
from jaxbert.model.params import digest_of_arrays, subtree
from jaxbert.options.fields import AUTO
from jaxbert.options.keyword_groups import (
    BatchKeywords,
    EncodingKeywords,
    StepKeywords,
)
from jaxbert.options.settings import TrainingOptions
from jaxbert.options.source_settings import OwnColumns, Source
from jaxbert.options.user_function import UserFunction
from jaxbert.runs.adapter import adapted_model
from jaxbert.runs.batch_size import room, rows_that_fit
from jaxbert.runs.encoding import encode_examples, encode_to_learn
from jaxbert.runs.evaluate import Evaluator, show_scores
from jaxbert.runs.inputs import load_model, read_examples, read_held_out
from jaxbert.runs.plan import best_metrics, full_rows, make_sampler, micro_batches
from jaxbert.runs.record import RunRecord, fingerprint_of
from jaxbert.runs.run_step import corruption_of, make_step
from jaxbert.runs.teacher import Teacher, load_teacher
from jaxbert.runtime import processes
from jaxbert.tasks.task import E, P, S, Task
from jaxbert.training.choose_optimizer import ChosenOptimizer
from jaxbert.training.optim import is_frozen, make_schedule
from jaxbert.training.optimizers import make_optimizer
from jaxbert.training.parallel import Parallel

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class PythonInputs:
    """What a Python program gives in place of what the options name.

    Attributes:
        train, validation: rows.
        loss, optim: functions; the options have their names.
        metrics: after the task's own.
        corruption: of each row's tokens, in place of what the task does with them.
    """

    train: InMemory | None = None
    validation: InMemory | None = None
    loss: UserFunction | None = None
    optim: UserFunction | None = None
    metrics: Sequence[UserMetric] = ()
    corruption: UserFunction | None = None

    def scores(self) -> list[Metric]:
        """Those of the metrics."""
        return [Metric(m.name, None, m.lower_is_better) for m in self.metrics]

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


class Validation(Generic[S, E, P]):
    """What the last evaluation of the held-out examples gave."""

    def __init__(self, evaluator: Evaluator[S, E, P]) -> None:
        self._evaluator = evaluator
        self.step = -1
        self.scores: Scores = {}
        self.predictions: Sequence[P] = []

    def __call__(
        self, params: Params, step: int, stopped: Callable[[], bool] = lambda: False
    ) -> Scores | None:
        scores = self.quietly(params, step, stopped)
        if scores is not None:
            logger.info("step %d: %s", step, show_scores(scores))
        return scores

    def quietly(
        self, params: Params, step: int, stopped: Callable[[], bool] = lambda: False
    ) -> Scores | None:
        """The same without a line of the log."""
        result = self._evaluator(of_model(params), stopped)
        if result is None:
            return None
        (self.scores, self.predictions), self.step = result, step
        return self.scores


@dataclasses.dataclass(frozen=True)
class Inputs(Generic[S, E, P]):
    """All that a run learns a task from, read and checked.

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
    held_out: Sequence[E] | None
    validation: Validation[S, E, P] | None
    teacher: Teacher | None
    corruption: UserFunction | None
    record: RunRecord

    @property
    def batch_size(self) -> int:
        """Rows of a micro-batch on each device, as given or decided."""
        rows = self.record.options["per_device_train_batch_size"]
        assert isinstance(rows, int)
        return rows

    @property
    def window_lengths(self) -> Sequence[int]:
        """The lengths of what the encoder reads at once."""
        return window_lengths(self.features, self.sampler.buckets)

    @property
    def parallel(self) -> Parallel:
        """The devices."""
        return self.model.compute.parallel

    @property
    def accumulation(self) -> int:
        """Micro-batches of a step on these devices."""
        return micro_batches(
            self.sampler,
            devices=self.parallel.devices,
            per_device_train_batch_size=self.batch_size,
        )


AnyInputs: TypeAlias = Inputs[Any, Any, Any]


@dataclasses.dataclass(frozen=True)
class Examples(Generic[S, E, P]):
    """The data of a run, read, and the task fitted to them.

    Attributes:
        columns: of the training data, those that the task does not know.
        origin: of the training data, for messages.
    """

    task: Task[S, E, P]
    data: Data[E]
    held_out: Sequence[E] | None
    columns: RowColumns
    origin: str


def read_data(
    task: Task[S, E, P],
    python_inputs: PythonInputs,
    *,
    training: Source,
    validation: Source,
    names: OwnColumns,
    needed_by: Sequence[str],
    cache_dir: str | None,
) -> Examples[S, E, P]:
    """The examples to train on and those held out.

    Args:
        names: of columns of the training data that the task does not know.
        needed_by: the options given that need validation data.
        cache_dir: where examples are kept.
    """
    collector = CellCollector(names)
    data = read_examples(task, training, python_inputs.train, collector, cache_dir)
    if data is None:
        raise InputError("give --train_file or --dataset_name, the data to train on")
    columns = _columns_of(task, data.examples, collector)
    held_out = read_held_out(task, validation, python_inputs.validation, needed_by, cache_dir)
    if held_out is None and python_inputs.metrics:
        raise InputError("metrics: give validation_data, on which they are computed")
    rows = python_inputs.train
    origin = training.label if rows is None else rows.origin
    return Examples(task.fit_to(data.examples, held_out), data, held_out, columns, origin)


def _columns_of(task: Task[S, E, P], examples: Sequence[E], collector: CellCollector) -> RowColumns:
    """The columns that the task does not know; what they are is logged."""
    if not collector.wants:
        return RowColumns()
    counts = [n for n in map(task.word_count, examples) if n is not None]
    columns = collector.columns([task.row_of(e) for e in examples], counts or None)
    columns.describe(collector.names)
    return columns


def read_inputs(
    read: Examples[S, E, P],
    options: TrainingOptions,
    loss: ChosenLoss,
    optimizer: ChosenOptimizer,
    record: RunRecord,
    previous: RunRecord | None,
    python_inputs: PythonInputs,
    *,
    metric: str | None,
    freeze: Sequence[str],
) -> Inputs[S, E, P]:
    """Model, features and the order of batches.

    Args:
        record: of this run, as far as the options alone decide it.
        previous: of the run that is resumed, if there is one.
        metric: the score that tells the best checkpoint, where it is one of this task.
        freeze: modules of the model that are not trained.
    """
    task = read.task
    seed, packing, shards = options.seed, options.packing, options.shard_optimizer
    model = load_model(task, options, read.data, seed=seed, packing=packing, shard_optimizer=shards)
    _check_model(read, model, metric, python_inputs.metrics, freeze)
    if (lora := options.lora()) is not None:
        model = adapted_model(model, Lora(**lora), options.frozen, seed)
    features = _features_to_learn(read, model, options.encoding())
    batch_size = options.per_device_train_batch_size
    if batch_size == AUTO and (batch_size := _decided(previous)) == AUTO:
        tx = make_optimizer(optimizer.rule, make_schedule(1.0, steps=1), **options.optimizer())
        step, batches, corruption = options.step(), options.batches(), python_inputs.corruption
        batch_size = _most_rows(task, model, features, loss, tx, corruption, step, batches)
    record = record.decided("per_device_train_batch_size", batch_size)
    sampler = make_sampler(
        features.lengths,
        width=model.cfg.hidden_size,
        parts=model.compute.parallel.devices * options.gradient_accumulation_steps,
        per_device_train_batch_size=batch_size,
        max_seq_length=task.settings.max_seq_length,
        windows_in_row=task.windows_in_row,
        record=previous,
        platform=model.compute.target.platform,
        **options.batches(),
    )
    validation = _make_validation(
        read,
        model,
        python_inputs.metrics,
        encoding=options.encoding(),
        size=options.per_device_eval_batch_size * model.compute.parallel.devices,
        buckets=bucket_lengths(options.length_bucket, task.settings.max_seq_length),
    )
    teacher = _teacher_of(loss, task, model)
    return Inputs(
        task=task,
        loss=loss,
        model=model,
        examples=read.data.examples,
        features=features,
        sampler=sampler,
        held_out=read.held_out,
        validation=validation,
        teacher=teacher,
        corruption=python_inputs.corruption,
        record=_completed(record, read, model, features, sampler, teacher, loss),
    )


def _decided(previous: RunRecord | None) -> int:
    """The rows that the run that is resumed has decided on; AUTO where there is none."""
    rows = previous.options.get("per_device_train_batch_size") if previous else AUTO
    return rows if isinstance(rows, int) else AUTO


def _most_rows(
    task: Task[S, E, P],
    model: LoadedModel,
    features: Features,
    loss: ChosenLoss,
    tx: optax.GradientTransformation,
    corruption: UserFunction | None,
    step: StepKeywords,
    batches: BatchKeywords,
) -> int:
    """--per_device_train_batch_size auto."""
    if "teacher" in loss.args:
        raise InputError(
            "--per_device_train_batch_size auto is not for a loss with a teacher; give a number"
        )
    bytes_of_device = room()
    parts = model.compute.parallel.devices * step["accumulate"]
    length = task.settings.max_seq_length
    lengths = bucket_lengths(batches["length_bucket"], length)
    tried = TrainingStep(
        make_step(task, model, loss, tx, lengths, **step),
        with_loss_params(model.params, loss, model.cfg, seed=batches["seed"]),
        tx,
        lambda rows: full_rows(
            features,
            features.lengths,
            rows=rows,
            width=model.cfg.hidden_size,
            parts=parts,
            max_seq_length=length,
            windows_in_row=-(-int(features.lengths.max()) // length),
            platform=model.compute.target.platform,
            corruption=corruption_of(task, model, features, corruption, batches["seed"]),
            **batches,
        ),
        model.compute.parallel,
        model.compute.dtype,
    )
    return rows_that_fit(tried, bytes_of_device, -(-len(features) // parts))


def _check_model(
    read: Examples[S, E, P],
    model: LoadedModel,
    metric: str | None,
    added: Sequence[UserMetric],
    freeze: Sequence[str],
) -> None:
    """Refuse a metric or a module to freeze that this model with these data does not have.

    Args:
        metric: --metric_for_best_model.
        added: scores beside the task's.
    """
    if not {m.name for m in added}.issuperset(best_metrics((), metric)):
        read.task.check_metric(metric, read.data.examples, model.cfg)
    if names := model.cfg.id2label:
        shown = ", ".join(names[:12]) + ", ..." * (len(names) > 12)
        logger.info("  %d outputs: %s", len(names), shown)
    check_freeze(model.params, freeze)
    _check_has_loss(read, metric)


def _features_to_learn(
    read: Examples[S, E, P], model: LoadedModel, encoding: EncodingKeywords
) -> Features:
    """The features from which something can be learned, with the columns of the user's own."""
    task, examples, columns, origin = read.task, read.data.examples, read.columns, read.origin
    tokenizer, cfg = model.tokenizer, model.cfg
    features = encode_to_learn(task, examples, tokenizer, cfg, origin, **encoding)
    if columns.view is not None:
        if model.compute.packing:
            raise InputError("--packing is not for rows with two texts (--view_column)")
        others = task.with_texts(examples, columns.view)
        view = encode_to_learn(task, others, tokenizer, cfg, origin, **encoding)
        features = with_view(features, view)
    rows = task.as_rows(columns.added_to(features))
    if task.weighs_windows:
        most = task.windows_in_row
        logger.info("  %d rows of at most %d windows, which are weighed together", len(rows), most)
    return rows


def _check_has_loss(read: Examples[S, E, P], metric: str | None) -> None:
    """Refuse to judge checkpoints by a loss that the validation data do not have."""
    if best_metrics((), metric) != (LOSS,):
        return
    if read.held_out is not None and not any(map(read.task.learnable, read.held_out)):
        raise InputError(
            f"--metric_for_best_model {metric}: the validation data have no example whose label is "
            "known and found, so they have no eval_loss; give another score"
        )


def _completed(
    record: RunRecord,
    read: Examples[S, E, P],
    model: LoadedModel,
    features: Features,
    sampler: Sampler,
    teacher: Teacher | None,
    loss: ChosenLoss,
) -> RunRecord:
    """The record with what the data have decided, when the other processes have the same."""
    prints = _fingerprints(model, features, read.held_out, teacher)
    processes.check_alike("data", prints)
    processes.check_alike("losses", [loss.source, dict(loss.values)])
    processes.check_alike("functions", dict(record.functions))
    kernel, _ = model.attention_for(window_lengths(features, sampler.buckets), train=True)
    return dataclasses.replace(
        record,
        machine={**record.machine, "attention": kernel},
        rows_per_step=sampler.rows,
        row_length=max(sampler.buckets),
        data=prints,
        examples=len(read.data.examples),
    )


def _make_validation(
    read: Examples[S, E, P],
    model: LoadedModel,
    metrics: Sequence[UserMetric],
    *,
    encoding: EncodingKeywords,
    size: int,
    buckets: Sequence[int],
) -> Validation[S, E, P] | None:
    """The evaluation of the held-out examples, its user-defined metrics tried; None without any."""
    if read.held_out is None:
        return None
    evaluator = Evaluator(
        read.task,
        model,
        read.held_out,
        encode_examples(read.task, read.held_out, model.tokenizer, model.cfg, **encoding),
        size=size,
        buckets=buckets,
        metrics=metrics,
    )
    if metrics:
        evaluator.try_metrics(model.compute.parallel.replicate(model.params))
    return Validation(evaluator)


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
    if model.lora is not None:  # its checkpoints do not have it
        prints["base"] = digest_of_arrays(subtree(model.params, "bert"))
    return prints


def check_freeze(params: Params, freeze: Sequence[str]) -> None:
    """Refuse to freeze what is no module of these parameters, or all of them.

    Args:
        freeze: --freeze.

    Raises:
        InputError: it is so.
    """
    paths = [p for p, _ in jax.tree_util.tree_leaves_with_path(params)]
    names = [tuple(str(part.key) for part in path) for path in paths]
    for name in freeze:
        if not any(is_frozen(path, [name]) for path in names):
            modules = sorted({part for path in names for part in path[:2]})
            there = ", ".join([*modules, "weights"])
            raise InputError(f"--freeze {name}: no such module; there are {there}")
    if freeze and all(is_frozen(path, freeze) for path in names):
        raise InputError("--freeze leaves nothing to train")


def _teacher_of(loss: ChosenLoss, task: Task[S, E, P], student: LoadedModel) -> Teacher | None:
    """The model that the loss's options name, if they do."""
    if "teacher" not in loss.args:
        return None
    first = None if loss.user_defined else bool(loss.args.get("hidden"))
    return load_teacher(loss.args["teacher"], task, student, first=first)
