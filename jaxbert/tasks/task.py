"""Task: the record of everything in which a task differs from another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxbert.data.batch_source import Corruption
from jaxbert.data.features import Features
from jaxbert.data.rows import Data
from jaxbert.data.sources import load_rows
from jaxbert.errors import InputError
from jaxbert.losses.distillation import distillation
from jaxbert.losses.forms import Arrays, Loss, Measure
from jaxbert.losses.label_losses import label_cross_entropy, label_focal, label_smoothing
from jaxbert.losses.passes import fgm, pgd, r_drop
from jaxbert.metrics.scores import Scores
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import Params
from jaxbert.options.settings import RowOptions

# Losses that add to any other.
WITH_BASE: dict[str, Callable[..., Any]] = {
    "r_drop": r_drop,
    "fgm": fgm,
    "pgd": pgd,
    "distillation": distillation,
}
# Losses of labels, whether a row has one or many.
OF_LABELS: dict[str, Callable[..., Any]] = {
    "cross_entropy": label_cross_entropy,
    "label_smoothing": label_smoothing,
    "focal": label_focal,
}

# The draw of an evaluation where a task corrupts its batches: a number that no step has.
EVALUATION = 2**40


@dataclasses.dataclass(frozen=True)
class Task:
    """What training and evaluation call; `options` is the task's own options record.

    Attributes:
        name: for messages and options.json.
        head: a name in model.heads.HEADS.
        losses: name -> a loss of either form (see losses.forms), whose keywords are its options;
            the first is the default.
        evaluation_loss: options -> the loss whose mean is eval_loss; None for the default loss, as
            it is without options.
        learnable: example -> whether what the data say of it can be learned, so that eval_loss is
            of it too.
        problem_type: (options, cfg of the model) -> config.json's problem_type of what is trained.
        loss_settings: (options, cfg) -> what other options say of the loss's keywords, or None.
        measure: sums and counts to report beside it.
        best_metrics: scores that can tell the best checkpoint; the first that there is is the
            default. eval_loss can everywhere.
        load: (path, options) -> content of a file.
        read: (pairs of origin and content, options) -> data.
        encode: (examples, tokenizer, options, cfg) -> Features.
        reduce: options -> the pure function (outputs, batch) -> small arrays kept of a prediction.
        decode: (examples, features, arrays, options, cfg) -> predictions, one for each example.
        score: (examples, predictions, options, cfg) -> name -> number, or name of a class.
        files: (examples, predictions, options, cfg) -> file name -> JSON content.
        check: (data, where they are from, whether to learn from them) -> None; raises InputError
            for data that lack what is to be learned or scored.
        label_of: example -> its label or None, where training and scores need labels.
        resolve: (options, training examples, held-out examples) -> options with all that depends on
            the data decided; either may be None.
        labels: (training examples, options) -> names of the classes, for heads that have them.
        corrupt: (options, tokenizer, cfg) -> (batch, draw) -> batch: what is drawn anew for a batch
            on the host; a pure function of the batch's rows and of `draw`, the step's number. With
            EVALUATION it is the same for all runs, so that their scores can be compared.
        export: (params, options) -> the parameters to be saved.
        token_outputs: the head's outputs that have a value a token; others have one a row.
        packs: several windows can share a row.
        lower_is_better: the scores that are better when they are lower.
        fresh: options of the task that an evaluation does not take from the training.
    """

    name: str
    head: str
    losses: dict[str, Callable[..., Any]]
    measure: Measure | None
    best_metrics: tuple[str, ...]
    load: Callable[[str, Any], Any]
    read: Callable[..., Data[Any]]
    encode: Callable[..., Features]
    reduce: Callable[[Any], Callable[[Arrays, Arrays], Arrays]]
    decode: Callable[..., list[Any]]
    score: Callable[..., Scores]
    files: Callable[..., dict[str, Any]]
    check: Callable[..., None] | None = None
    label_of: Callable[[Any], Any] | None = None
    evaluation_loss: Callable[[Any], Loss] | None = None
    learnable: Callable[[Any], bool] = lambda example: True
    problem_type: Callable[[Any, BertConfig], str] | None = None
    loss_settings: Callable[[Any, BertConfig], dict[str, Any]] = lambda options, cfg: {}
    resolve: Callable[..., Any] = lambda options, examples, held_out: options
    labels: Callable[[Sequence[Any], Any], tuple[str, ...]] | None = None
    corrupt: Callable[[Any, Any, BertConfig], Corruption] | None = None
    export: Callable[[Params, Any], Params] = lambda params, options: params
    token_outputs: tuple[str, ...] = ()
    packs: bool = True
    lower_is_better: frozenset[str] = frozenset()
    fresh: frozenset[str] = frozenset()


def load_table(path: str, options: RowOptions) -> Any:
    """The content of a file of rows."""
    return load_rows(path, quoted_tsv=options.quoted_tsv)


def sorted_classes(names: set[str]) -> tuple[str, ...]:
    """Class names sorted, as numbers where all are integers.

    >>> sorted_classes({"10", "9"}), sorted_classes({"no", "10"})
    (('9', '10'), ('10', 'no'))
    """
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


def reduce_logits(options: Any) -> Callable[[Arrays, Arrays], Arrays]:
    """Of each row, the probabilities of its classes or choices: (B, C) float32."""
    return lambda outputs, batch: {"probabilities": jax.nn.softmax(outputs["logits"], axis=-1)}
