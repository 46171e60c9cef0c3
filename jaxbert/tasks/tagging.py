"""Tagging: a label for every word, for parts of speech and named entities."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.encode_words import encode_words
from jaxbert.data.features import Features
from jaxbert.data.rows import Data, names_of
from jaxbert.data.words import WordsExample, load_words, read_words
from jaxbert.decoding.tags import word_labels
from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.losses.forms import Arrays
from jaxbert.losses.label_losses import label_accuracy
from jaxbert.metrics.entities import (
    entity_report,
    entity_scores,
    find_scheme,
    left_out_when_strict,
    odd_tags,
)
from jaxbert.model.config import BertConfig
from jaxbert.options.settings import ScoreOptions, TaggingOptions
from jaxbert.tasks.task import OF_LABELS, WITH_BASE, Task, number_of, sorted_classes

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class Tagged:
    """A prediction: a tag for every word of a sentence, and the probability of each."""

    tags: list[str]
    scores: list[float]


def _read(tables: Any, options: TaggingOptions) -> Data[WordsExample]:
    return read_words(
        tables,
        word_column=options.text_column_name,
        tag_column=options.label_column_name,
        strict=options.strict,
    )


def _load(path: str, options: TaggingOptions) -> Any:
    words, tags = options.text_column_name, options.label_column_name
    return load_words(path, word_column=words, tag_column=tags)


def _resolve(
    options: Any, examples: Sequence[WordsExample] | None, held_out: Sequence[WordsExample] | None
) -> Any:
    data = held_out if examples is None else examples
    doubts = doubts_of(data or (), options)
    if examples is not None:
        metric = (options.metric_for_best_model or "accuracy").removeprefix("eval_")
        if metric not in ("accuracy", "loss") and find_scheme(_tags_of(examples)) is None:
            raise InputError(
                f"--metric_for_best_model {options.metric_for_best_model}: "
                + next(
                    iter(doubts),
                    "the tags are no entities (B-..., I-..., O); give accuracy or eval_loss",
                )
            )
        _check_tags(examples)
    for doubt in doubts:
        logger.warning("%s", doubt)
    return options


def _tags_of(examples: Sequence[WordsExample]) -> list[str]:
    return [tag for e in examples for tag in e.tags or ()]


def _check_tags(examples: Sequence[WordsExample]) -> None:
    """Refuse to learn the words themselves, from a column that was taken for the tags."""
    pairs = [pair for e in examples for pair in zip(e.words, e.tags or (), strict=False)]
    same = sum(word == tag for word, tag in pairs)
    if len(pairs) >= 20 and 2 * same > len(pairs):
        raise InputError(
            f"{examples[0].where}: {same} of {len(pairs)} tags are the word itself; name the "
            "column of the tags with --label_column_name"
        )


def doubts_of(
    examples: Sequence[WordsExample], options: TaggingOptions | ScoreOptions
) -> list[str]:
    """What is odd about tags and changes scores: lines for the log.

    One tag that is not of the scheme of the others turns the scores of entities off; and the strict
    mode may not find the entities that are there.
    """
    tags = _tags_of(examples)
    odd, others = odd_tags(tags)
    lines = []
    if odd:
        places = (
            (e.where, number, word, tag)
            for e in examples
            for number, (word, tag) in enumerate(zip(e.words, e.tags or (), strict=False), 1)
        )
        where, number, word, tag = next(place for place in places if place[3] == odd[0])
        count = tags.count(tag)
        more = f" (and {len(odd) - 1} other tags like it)" if len(odd) > 1 else ""
        lines.append(
            f"{where}, word {number} ({shown(word)}): the tag {shown(tag)!r} occurs {count} "
            f"time{'s'[: count > 1]}{more} and is not of the scheme of {names_of(others)}; with it "
            "only accuracy can be scored, no entities: correct it in the file"
        )
    scheme = find_scheme(tags)
    if options.entity_mode == "strict" and scheme is not None:
        lost, found = left_out_when_strict([e.tags or () for e in examples], scheme)
        if lost:
            lines.append(
                f"--entity_mode strict leaves out {lost} of the {found} entities of the data: they "
                "do not begin (or end) as their scheme wants, as those of IOB1; the default mode "
                "finds them"
            )
    return lines


def _labels(examples: Sequence[WordsExample], options: TaggingOptions) -> tuple[str, ...]:
    return sorted_classes({tag for e in examples for tag in e.tags or ()})


def _encode(
    examples: Sequence[WordsExample], tokenizer: Any, options: TaggingOptions, cfg: BertConfig
) -> Features:
    targets = None
    if all(e.tags is not None for e in examples):
        known = {name: number for number, name in enumerate(cfg.id2label)}
        targets = []
        for e in examples:
            unknown = next((tag for tag in e.tags or () if tag not in known), None)
            if unknown is not None:
                number_of(unknown, cfg, e.where)  # raises
            targets.append(np.array([known[tag] for tag in e.tags or ()], np.int32))
    length, stride = options.max_seq_length, options.doc_stride
    features = encode_words(
        examples,
        tokenizer,
        max_length=length,
        stride=max(0, min(length // 4, (length - 3) // 2)) if stride is None else stride,
        targets=targets,
        inside=_inside(cfg.id2label) if options.label_all_tokens else None,
    )
    odd, others = odd_tags(cfg.id2label)
    if targets is not None and odd and find_scheme(_tags_of(examples)):
        note = (
            f"the model has the class {shown(odd[0])!r}, which is not of the scheme of "
            f"{names_of(others)}: only accuracy is scored, no entities"
        )
        return dataclasses.replace(features, notes=(*features.notes, note))
    return features


def _inside(names: Sequence[str]) -> np.ndarray:
    """Of each class the one of a word's further sub-words: I-PER for B-PER, else itself."""
    number = {name: n for n, name in enumerate(names)}
    return np.array([number.get(re.sub("^B", "I", name), n) for n, name in enumerate(names)])


def _reduce(options: TaggingOptions) -> Callable[[Arrays, Arrays], Arrays]:
    """Of each token the best class and its probability, (B, max_seq_length)."""

    def reduce(outputs: Arrays, batch: Arrays) -> Arrays:
        p = jax.nn.softmax(outputs["logits"], axis=-1)
        missing = options.max_seq_length - p.shape[1]  # batches are as long as their bucket
        pad = ((0, 0), (0, missing))
        best = jnp.argmax(p, axis=-1).astype(jnp.int32)
        return {"label": jnp.pad(best, pad), "score": jnp.pad(jnp.max(p, axis=-1), pad)}

    return reduce


def _decode(
    examples: Sequence[WordsExample],
    features: Features,
    arrays: dict[str, np.ndarray],
    options: TaggingOptions,
    cfg: BertConfig,
) -> list[Tagged]:
    found = word_labels(
        features.host["word"],
        bounds=features.bounds,
        example=features.example,
        label=arrays["label"],
        score=arrays["score"],
        counts=[len(e.words) for e in examples],
    )
    return [Tagged([cfg.id2label[n] for n in labels], scores.tolist()) for labels, scores in found]


def _score(
    examples: Sequence[WordsExample],
    predictions: Sequence[Tagged],
    options: TaggingOptions,
    cfg: BertConfig,
) -> dict[str, float]:
    """Of entities where the tags are a chunk scheme, else of single words: accuracy alone."""
    return entity_scores(
        [p.tags for p in predictions],
        [e.tags or () for e in examples],
        scheme=find_scheme(cfg.id2label),
        mode=options.entity_mode,
    )


def _files(
    examples: Sequence[WordsExample],
    predictions: Sequence[Tagged],
    options: TaggingOptions,
    cfg: BertConfig,
) -> dict[str, Any]:
    """The predictions, and the scores of each type of entity."""
    pairs = zip(examples, predictions, strict=True)
    files: dict[str, Any] = {
        "predictions.json": [{"words": list(e.words), **dataclasses.asdict(p)} for e, p in pairs]
    }
    scheme = find_scheme(cfg.id2label)
    if scheme is not None and all(e.tags is not None for e in examples):
        references, found = [e.tags or () for e in examples], [p.tags for p in predictions]
        report = entity_report(found, references, scheme=scheme, mode=options.entity_mode)
        files["entity_report.json"] = report
    return files


TAGGING = Task(
    name="tagging",
    head="tagging",
    token_outputs=("logits",),
    losses={**OF_LABELS, **WITH_BASE},
    measure=label_accuracy,
    best_metrics=("f1", "accuracy", "precision", "recall"),
    load=_load,
    read=_read,
    label_of=lambda e: e.tags,
    resolve=_resolve,
    labels=_labels,
    encode=_encode,
    reduce=_reduce,
    decode=_decode,
    score=_score,
    files=_files,
)
