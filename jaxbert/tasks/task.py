"""Task: everything in which a task differs from another."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeGuard, TypeVar

import jax
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.batch_source import Corruption
from jaxbert.data.feature_parts import merged, moved
from jaxbert.data.features import Features
from jaxbert.data.row_columns import LocatedRow
from jaxbert.data.rows import Cell, Content, Data, table_of
from jaxbert.data.sampling import NumpyBatch
from jaxbert.data.soft_labels import SoftLabel
from jaxbert.data.sources import load_hub_rows, load_rows
from jaxbert.errors import InputError
from jaxbert.io.files import Json, JsonFile
from jaxbert.losses.distillation import distillation
from jaxbert.losses.forms import Arrays, Loss, Measure
from jaxbert.losses.label_losses import label_cross_entropy, label_focal, label_smoothing
from jaxbert.losses.passes import fgm, pgd, r_drop
from jaxbert.metrics.resampled_scores import ResampledScores
from jaxbert.metrics.scores import LOSS, Metric, Scores
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import Params
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.options.task_settings import TaskOptions
from jaxbert.report.records import Findings
from jaxbert.training.window_arrays import WindowArrays

S = TypeVar("S", bound=TaskOptions)  # a task's own settings
E = TypeVar("E")  # an example
P = TypeVar("P")  # a prediction
L = TypeVar("L")  # a label

# A pure function of the model's outputs and the batch.
Reduce: TypeAlias = Callable[[Arrays, Batch[jax.Array]], Arrays]
Label: TypeAlias = str | float | tuple[str, ...] | SoftLabel
# Losses of either form (see losses.forms) by name. Their keywords are their options.
Losses: TypeAlias = Mapping[str, Callable[..., Any]]

# Losses that add to any other.
WITH_BASE: Losses = {
    "r_drop": r_drop,
    "fgm": fgm,
    "pgd": pgd,
    "distillation": distillation,
}
# Losses of labels, whether a row has one or many.
OF_LABELS: Losses = {
    "cross_entropy": label_cross_entropy,
    "label_smoothing": label_smoothing,
    "focal": label_focal,
}

DECODED = 4096  # windows that are decoded at once, and the others of the last one's example

# The draw of an evaluation where a task corrupts its batches: a number that no step has.
EVALUATION = 2**40


class Task(abc.ABC, Generic[S, E, P]):
    """What training, evaluation and predictors call of a task. It is built from its own settings.

    S is the dataclass of these settings, E an example, P a prediction. `cfg` is the configuration
    of the model, which names the classes. B rows of a batch, M windows, C classes.

    Attributes:
        name: for messages, options.json and the command line.
        head: a name in model.heads.HEADS.
        pipeline_tag: what the Hub calls the task; None where it has no name for it.
        losses: name -> loss; the first is the default.
        metrics: scores that can tell the best checkpoint; the first that there is is the default.
            eval_loss can everywhere.
        token_outputs: outputs of the head that have a value for every token, (B, T, ...).
        has_classes: whether the head has an output for each class, which config.json names.
        packs: whether several windows can share a row.
        of_words: whether its texts are words that are tokenized one by one.
        fresh: settings that an evaluation does not take from the training.
        settings_cls: the dataclass of the task's own settings.
        example_cls: that of an example.
        settings: these, resolved after fit_to; options.json keeps them.
        variant: what else decides how examples are encoded, in words; from fit_to.
    """

    name: ClassVar[str]
    head: ClassVar[str]
    pipeline_tag: ClassVar[str | None] = None
    losses: ClassVar[Losses]
    metrics: ClassVar[tuple[Metric, ...]]
    token_outputs: ClassVar[tuple[str, ...]] = ()
    has_classes: ClassVar[bool] = False
    packs: ClassVar[bool] = True
    of_words: ClassVar[bool] = False
    fresh: ClassVar[frozenset[str]] = frozenset()
    settings_cls: type[S]
    example_cls: type[E]
    variant: str = ""

    def __init__(self, settings: S) -> None:
        self.settings = settings

    @classmethod
    def all_metrics(cls) -> tuple[Metric, ...]:
        """The scores that can tell the best checkpoint, eval_loss the last of them."""
        return (*cls.metrics, Metric(LOSS, lower_is_better=True))

    @classmethod
    def metric_names(cls) -> tuple[str, ...]:
        """Their names."""
        return tuple(metric.name for metric in cls.all_metrics())

    # --- data ---

    def load(self, path: str) -> Content:
        """The content of a file.

        Raises:
            InputError: it is missing, damaged, or not what its suffix says.
        """
        return load_rows(path)

    def load_data_set(self, name: str, config: str | None, split: str) -> Content:
        """The content of a split of a data set, of the Hub or of a folder.

        Raises:
            MissingSplitError: the data set exists, but not the split.
            InputError: it cannot be read.
        """
        return load_hub_rows(name, config, split)

    @abc.abstractmethod
    def read(self, sources: Iterable[tuple[str, Content]]) -> Data[E]:
        """The examples of contents, each with its name for messages.

        Raises:
            InputError: a column is not there, or no row can be used.
        """

    def rows_of(self, origin: str, content: Content) -> Iterable[LocatedRow]:
        """The rows of a content, whose columns a loss may want.

        Raises:
            InputError: the task has no rows with columns.
        """
        return (LocatedRow(where, where, row) for where, row in table_of(origin, content).rows)

    def row_of(self, example: E) -> str:
        """The key of an example's row, as rows_of has it."""
        where: str = getattr(example, "where")  # noqa: B009
        return where

    def word_count(self, example: E) -> int | None:
        """How many words it has, where examples are lists of words."""
        return None

    def with_texts(self, examples: Sequence[E], texts: Sequence[str]) -> Sequence[E]:
        """The examples with other texts, for --view_column.

        Raises:
            InputError: an example of the task is not a single text.
        """
        raise InputError(f"--view_column is not for {self.name}, whose rows are no single texts")

    def check(self, data: Data[E], origin: str, *, training: bool) -> None:
        """Raise InputError for data that lack what is to be learned or scored.

        Args:
            origin: where they are from, for messages.
            training: whether they are to be learned from.
        """

    def label_of(self, example: E) -> Label | None:
        """Its label, None where it is missing; () where the task needs none."""
        return ()

    def labels(self, examples: Sequence[E]) -> tuple[str, ...]:
        """The names of the classes of training examples, in order, for heads that have them.

        Raises:
            InputError: there is nothing to tell apart.
        """
        return ()

    def learnable(self, example: E) -> bool:
        """Whether what the data say of it can be learned, so that eval_loss is of it too."""
        return True

    def fit_to(self, train: Sequence[E] | None, held_out: Sequence[E] | None) -> Self:
        """The task with all settings decided that depend on the data.

        Args:
            train: examples to learn from; None in an evaluation.
            held_out: examples to be scored; None where there are none.

        Raises:
            InputError: the data and the settings do not go together.
        """
        return self

    def doubts(self, examples: Sequence[E]) -> list[str]:
        """What is odd about examples and changes scores, in lines for the log."""
        return []

    # --- the model ---

    def problem_type(self, cfg: BertConfig) -> str | None:
        """config.json's problem_type of what is trained, where `cfg` is that of the model."""
        return cfg.problem_type

    def check_metric(self, given: str | None, train: Sequence[E], cfg: BertConfig) -> None:
        """Raise InputError if what is trained will have no score of that name.

        Args:
            given: --metric_for_best_model.
            cfg: of the model to be trained, with its classes and its problem_type.
        """

    def encode(
        self, examples: Sequence[E], tokenizer: PreTrainedTokenizerFast, cfg: BertConfig
    ) -> Features:
        """The windows of examples, with targets where all have labels.

        However many parts the examples are encoded in, the windows are the same.

        Raises:
            InputError: a label is none of the model's, or a setting is not for its classes.
        """
        parts = [self.encode_part(examples, tokenizer, cfg)]
        return self.finish(merged(self.join_parts(parts, examples, tokenizer)))

    @abc.abstractmethod
    def encode_part(
        self, examples: Sequence[E], tokenizer: PreTrainedTokenizerFast, cfg: BertConfig
    ) -> Features:
        """The windows of consecutive examples, perhaps in a process of its own.

        Its sums have the number of examples as "examples".
        """

    def join_parts(
        self, parts: Iterable[Features], examples: Sequence[E], tokenizer: PreTrainedTokenizerFast
    ) -> Iterator[Features]:
        """The parts as parts of all examples: here their windows stay what they are."""
        before = 0
        for part in parts:
            yield moved(part, before)
            before += part.sums["examples"]

    def finish(self, features: Features) -> Features:
        """The features of all parts, without what only a part needed."""
        return features

    @property
    def windows_in_row(self) -> int:
        """The most windows of an example that are learned as one row, for the model to weigh them
        against each other; 1 where every window is a row of its own."""
        return 1

    @property
    def weighs_windows(self) -> bool:
        """Whether the model learns how much each window of an example counts."""
        return self.windows_in_row > 1

    def as_rows(self, features: Features) -> Features:
        """Windows as the rows that are learned; predictions are of windows everywhere."""
        return features

    def characters(self, example: E) -> int:
        """About how many characters of text it has, to divide the data into parts."""
        return len(repr(example))

    def remarks(self, examples: Sequence[E], cfg: BertConfig) -> list[str]:
        """Lines for the log about encoded examples as a whole."""
        return []

    def corrupt(
        self, tokenizer: PreTrainedTokenizerFast, cfg: BertConfig, *, seed: int
    ) -> Corruption | None:
        """A function (batch, draw) -> batch that draws again, for each step, what a batch has.

        It is a pure function of the batch's rows and of `draw`, the step's number. With EVALUATION
        it is the same for all seeds, so that scores of runs can be compared. None draws nothing.
        """
        return None

    def export(self, params: Params) -> Params:
        """The parameters to be saved."""
        return params

    # --- losses ---

    def loss_keywords(self, cfg: BertConfig) -> dict[str, np.ndarray | None]:
        """Keywords of the loss that settings of the task give; None is not given.

        Raises:
            InputError: a setting is not for the model's classes.
        """
        return {}

    def evaluation_loss(self) -> Loss:
        """The loss whose mean is eval_loss: the default one without options."""
        loss: Loss = next(iter(self.losses.values()))
        return loss

    def measure(self) -> Measure | None:
        """(outputs, batch) -> name -> (sum, count), to be reported beside the loss."""
        return None

    @property
    def without_teacher(self) -> str | None:
        """Why the task cannot be learned from a teacher, for a message; None where it can."""
        return None

    # --- predictions ---

    @abc.abstractmethod
    def reduce(self) -> Reduce:
        """The function (outputs, batch) -> small arrays (B, ...) that are kept of a prediction."""

    @abc.abstractmethod
    def decode(
        self,
        examples: Sequence[E],
        features: Features,
        arrays: dict[str, np.ndarray],
        cfg: BertConfig,
    ) -> Sequence[P]:
        """A prediction for each example, from what `reduce` kept of each window, (M, ...)."""

    def pooled(
        self, features: Features, arrays: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], NumpyBatch]:
        """What a loss reads of examples whose windows are learned together: outputs and columns.

        Args:
            arrays: what `reduce` kept of each window, (M, ...).

        Returns:
            Arrays (N, ...), of each example.
        """
        raise NotImplementedError

    def parts(
        self, examples: Sequence[E], features: Features, arrays: WindowArrays
    ) -> Iterator[tuple[Sequence[E], Features, dict[str, np.ndarray]]]:
        """The examples by and by, as many as are decoded at once, with their windows.

        Args:
            features: whose windows are in the order of their examples.
        """
        first = done = 0
        while done < len(examples):
            last, until = _end_of_part(features, first, len(examples))
            part = features.part(first, last, done)
            yield examples[done:until], part, arrays.part(first, last)
            first, done = last, until

    def decode_parts(
        self, examples: Sequence[E], features: Features, arrays: WindowArrays, cfg: BertConfig
    ) -> Iterator[Sequence[P]]:
        """What `decode` gives of them all, part by part; see parts."""
        for some, part, kept in self.parts(examples, features, arrays):
            yield self.decode(some, part, kept, cfg)

    @abc.abstractmethod
    def score(self, examples: Sequence[E], predictions: Sequence[P], cfg: BertConfig) -> Scores:
        """Scores by name.

        Raises:
            ValueError: there is nothing to score, or predictions are not finite.
        """

    @abc.abstractmethod
    def artifacts(
        self, examples: Sequence[E], predictions: Sequence[P], cfg: BertConfig
    ) -> dict[str, JsonFile]:
        """File name -> content of what an evaluation writes beside the scores.

        Entries of many examples are made as they are written: JsonArray, JsonObject.
        """

    def with_vocabulary(self, tokenizer: PreTrainedTokenizerFast) -> Self:
        """The task as `findings` needs it where what it shows are tokens; most need no more."""
        return self

    def findings(
        self, examples: Sequence[E], predictions: Sequence[P], cfg: BertConfig
    ) -> Findings | None:
        """What a report shows of the examples, beside the scores; None has nothing to show."""
        return None

    # --- comparisons ---

    def kept_predictions(self, content: Json, data: Data[E], path: str) -> Sequence[P] | None:
        """The predictions that `artifacts` gave, as far as `resampled` needs them; None where the
        task writes none.

        Args:
            content: of predictions.json; a list or an object may be any Sequence or Mapping.
            data: that they are of.
            path: of the file, for messages.

        Raises:
            InputError: they are of other data, or of another form.
        """
        return None

    def resampled(
        self, examples: Sequence[E], predictions: Sequence[P], cfg: BertConfig
    ) -> ResampledScores | None:
        """What `score` gives of resamples of the examples, by the names in `metrics`; None where
        the task keeps no predictions."""
        return None


class RowTask(Task[S, E, P]):
    """A task whose predictions.json is a list in the order of the rows: eval/score.py reads it."""

    def kept_predictions(self, content: Json, data: Data[E], path: str) -> Sequence[P] | None:
        if not is_list(content) or len(content) != len(data.examples):
            raise InputError(f"{path}: not a list of {len(data.examples)} predictions")
        return self.read_predictions(content, data, path)[0]

    @abc.abstractmethod
    def read_predictions(
        self, entries: Sequence[Cell], data: Data[E], path: str
    ) -> tuple[Sequence[P], BertConfig]:
        """The predictions of a file, and a configuration that names the classes in it.

        Args:
            entries: of the file, as many as examples: those of a predictions.json, or bare labels.
            data: the references.
            path: of the file, for messages.

        Raises:
            InputError: an entry is not of its form, or a row of the references has no label.
        """


def _end_of_part(features: Features, first: int, examples: int) -> tuple[int, int]:
    """Where the part ends that begins with a window: behind which window, and which example."""
    last = first + DECODED
    if last < len(features):  # all windows of an example are in one part
        last = int(np.searchsorted(features.example, features.example[last - 1], side="right"))
    if last >= len(features):
        return len(features), examples
    return last, int(features.example[last])


def is_list(content: Json) -> TypeGuard[Sequence[Cell]]:
    """Whether the content of a JSON file is a list, perhaps one whose entries lie in a file."""
    return isinstance(content, Sequence) and not isinstance(content, str)


def needed(label: L | None, where: str) -> L:
    """A label of references.

    Raises:
        InputError: there is none.
    """
    if label is None:
        raise InputError(f"{where}: no label to score with")
    return label


def entry_of(entry: Cell, name: str) -> Cell:
    """The field of an entry of a predictions file that is an object with it, else the entry."""
    return entry[name] if isinstance(entry, dict) and name in entry else entry


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Class names sorted, as numbers where all are integers.

    >>> sorted_classes({"10", "9"}), sorted_classes({"no", "10"})
    (('9', '10'), ('10', 'no'))
    """
    names = set(names)
    numbers = all(name.removeprefix("-").isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name), name) if numbers else (0, name)))


def number_of(label: str, cfg: BertConfig, where: str) -> int:
    """The class of a label.

    Raises:
        InputError: the model has no such class.
    """
    try:
        return cfg.id2label.index(label)
    except ValueError:
        known = shown_classes(cfg.id2label)
        raise InputError(f"{where}: label {label!r} is none of the model's: {known}") from None


def shown_classes(names: Sequence[str]) -> str:
    """The first classes, for a message."""
    return ", ".join(names[:20]) + ", ..." * (len(names) > 20)


def probabilities(outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
    """Of each row, the probabilities of its classes or choices: (B, C) float32."""
    return {"probabilities": jax.nn.softmax(outputs["logits"], axis=-1)}
