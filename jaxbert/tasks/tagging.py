"""Tagging: a label for every word, for parts of speech and named entities."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import operator
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.documents import Documents
from jaxbert.data.encode_words import encode_words
from jaxbert.data.features import Features
from jaxbert.data.mapped import Mapped
from jaxbert.data.rows import Cell, Content, Data, names_of
from jaxbert.data.words import WordsExample, load_words, read_words
from jaxbert.decoding.tags import word_labels
from jaxbert.errors import InputError
from jaxbert.io.files import JsonArray, JsonFile
from jaxbert.io.untrusted import shown
from jaxbert.losses.forms import Arrays, Measure
from jaxbert.losses.label_losses import label_accuracy
from jaxbert.metrics.entities import (
    entity_report,
    entity_scores,
    find_scheme,
    left_out_when_strict,
    odd_tags,
)
from jaxbert.metrics.resampled_scores import ResampledScores, resampled_entities
from jaxbert.metrics.scores import Metric
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.options.task_settings import TaggingOptions
from jaxbert.report.records import Findings
from jaxbert.tasks.shown_tags import tags_shown
from jaxbert.tasks.task import (
    OF_LABELS,
    WITH_BASE,
    Losses,
    Reduce,
    RowTask,
    entry_of,
    needed,
    number_of,
    sorted_classes,
)

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class Tagged:
    """A prediction: a tag for every word of a sentence, and the probability of each."""

    tags: list[str]
    scores: list[float]


@dataclasses.dataclass(frozen=True)
class BestTags:
    """Of each token the best class and its probability: label, score (B, length)."""

    length: int

    def __call__(self, outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        p = jax.nn.softmax(outputs["logits"], axis=-1)
        pad = ((0, 0), (0, self.length - p.shape[1]))  # batches are as long as their bucket
        best = jnp.argmax(p, axis=-1).astype(jnp.int32)
        return {"label": jnp.pad(best, pad), "score": jnp.pad(jnp.max(p, axis=-1), pad)}


class Tagging(RowTask[TaggingOptions, WordsExample, Tagged]):
    """A tag for every word of a sentence."""

    name = "tagging"
    head = "tagging"
    pipeline_tag = "token-classification"
    losses: ClassVar[Losses] = {**OF_LABELS, **WITH_BASE}
    metrics = (Metric("f1"), Metric("accuracy"), Metric("precision"), Metric("recall"))
    token_outputs = ("logits",)
    has_classes = True
    of_words = True
    settings_cls = TaggingOptions
    example_cls = WordsExample

    @property
    def stride(self) -> int:
        """The most tokens that two windows share."""
        length, stride = self.settings.max_seq_length, self.settings.doc_stride
        return max(0, min(length // 4, (length - 3) // 2)) if stride is None else stride

    @property
    def documents(self) -> Documents | None:
        """How sentences are read with the words around them; None reads each alone."""
        if not self.settings.document_context:
            return None
        # A word has one token at least, so no more words than these fit on a side.
        return Documents(self.settings.document_column_name, self.settings.max_seq_length)

    def load(self, path: str) -> Content:
        words, tags = self.settings.text_column_name, self.settings.label_column_name
        return load_words(path, word_column=words, tag_column=tags, documents=self.documents)

    def read(self, sources: Iterable[tuple[str, Content]]) -> Data[WordsExample]:
        return read_words(
            sources,
            word_column=self.settings.text_column_name,
            tag_column=self.settings.label_column_name,
            strict=self.settings.strict,
            documents=self.documents,
        )

    def word_count(self, example: WordsExample) -> int:
        return len(example.words)

    def label_of(self, example: WordsExample) -> tuple[str, ...] | None:
        return example.tags

    def labels(self, examples: Sequence[WordsExample]) -> tuple[str, ...]:
        return sorted_classes(_tags_of(examples))

    def fit_to(
        self, train: Sequence[WordsExample] | None, held_out: Sequence[WordsExample] | None
    ) -> Self:
        """Say what is odd about the tags. There is nothing to decide.

        Raises:
            InputError: the tags of the training data are its words.
        """
        if train is not None:
            _check_tags(train)
        for doubt in self.doubts((held_out if train is None else train) or ()):
            logger.warning("%s", doubt)
        return self

    def doubts(self, examples: Sequence[WordsExample]) -> list[str]:
        """One tag that is not of the scheme of the others turns the scores of entities off; and
        the strict mode may not find the entities that are there."""
        lines = _odd_tag(examples)
        scheme = find_scheme(_tags_of(examples))
        if self.settings.entity_mode == "strict" and scheme is not None:
            lost, found = left_out_when_strict(map(_gold, examples), scheme)
            if lost:
                lines.append(
                    f"--entity_mode strict leaves out {lost} of the {found} entities of the data: "
                    "they do not begin (or end) as their scheme wants, as those of IOB1; the "
                    "default mode finds them"
                )
        return lines

    def check_metric(
        self, given: str | None, train: Sequence[WordsExample], cfg: BertConfig
    ) -> None:
        metric = (given or "accuracy").removeprefix("eval_")
        if metric in ("accuracy", "loss") or find_scheme(_tags_of(train)) is not None:
            return
        reason = "the tags are no entities (B-..., I-..., O); give accuracy or eval_loss"
        raise InputError(
            f"--metric_for_best_model {given}: {next(iter(self.doubts(train)), reason)}"
        )

    def encode_part(
        self,
        examples: Sequence[WordsExample],
        tokenizer: PreTrainedTokenizerFast,
        cfg: BertConfig,
    ) -> Features:
        targets = None
        if all(e.tags is not None for e in examples):
            targets = _targets(examples, cfg)
        return encode_words(
            examples,
            tokenizer,
            max_length=self.settings.max_seq_length,
            stride=self.stride,
            targets=targets,
            inside=_inside(cfg.id2label) if self.settings.label_all_tokens else None,
            document_context=self.settings.document_context,
        )

    def remarks(self, examples: Sequence[WordsExample], cfg: BertConfig) -> list[str]:
        odd, others = odd_tags(cfg.id2label)
        if not odd or any(e.tags is None for e in examples) or not find_scheme(_tags_of(examples)):
            return []
        return [
            f"the model has the class {shown(odd[0])!r}, which is not of the scheme of "
            f"{names_of(others)}: only accuracy is scored, no entities"
        ]

    def measure(self) -> Measure:
        return label_accuracy

    def reduce(self) -> Reduce:
        return BestTags(self.settings.max_seq_length)

    def decode(
        self,
        examples: Sequence[WordsExample],
        features: Features,
        arrays: dict[str, np.ndarray],
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
        return [
            Tagged([cfg.id2label[n] for n in labels], scores.tolist()) for labels, scores in found
        ]

    def score(
        self, examples: Sequence[WordsExample], predictions: Sequence[Tagged], cfg: BertConfig
    ) -> dict[str, float]:
        """Of entities where the tags are a chunk scheme, else of single words: accuracy alone."""
        return entity_scores(
            *_both(examples, predictions),
            scheme=find_scheme(cfg.id2label),
            mode=self.settings.entity_mode,
        )

    def resampled(
        self, examples: Sequence[WordsExample], predictions: Sequence[Tagged], cfg: BertConfig
    ) -> ResampledScores:
        return resampled_entities(
            *_both(examples, predictions),
            scheme=find_scheme(cfg.id2label),
            mode=self.settings.entity_mode,
        )

    def artifacts(
        self, examples: Sequence[WordsExample], predictions: Sequence[Tagged], cfg: BertConfig
    ) -> dict[str, JsonFile]:
        """The predictions, and the scores of each type of entity."""
        entries = (
            {"words": list(e.words), **dataclasses.asdict(p)}
            for e, p in zip(examples, predictions, strict=True)
        )
        files: dict[str, JsonFile] = {"predictions.json": JsonArray(entries)}
        scheme = find_scheme(cfg.id2label)
        if scheme is not None and all(e.tags is not None for e in examples):
            files["entity_report.json"] = entity_report(
                *_both(examples, predictions), scheme=scheme, mode=self.settings.entity_mode
            )
        return files

    def findings(
        self, examples: Sequence[WordsExample], predictions: Sequence[Tagged], cfg: BertConfig
    ) -> Findings:
        return tags_shown(
            examples,
            Mapped(lambda p: p.tags, predictions),
            Mapped(lambda p: p.scores, predictions),
            cfg.id2label,
            find_scheme(cfg.id2label),
            self.settings.entity_mode,
        )

    def read_predictions(
        self, entries: Sequence[Cell], data: Data[WordsExample], path: str
    ) -> tuple[Sequence[Tagged], BertConfig]:
        known = set(_tags_of(data.examples))
        scheme = find_scheme(known)
        other = None
        for number, (entry, e) in enumerate(zip(entries, data.examples, strict=True)):
            for tag in _read_tags(entry, e, path, number):
                if other is None and tag not in known:
                    other = tag
        if scheme and other and find_scheme({*known, other}) != scheme:
            raise InputError(f"{path}: tag {other!r} is not of the references' scheme")
        return Mapped(_tagged, entries), BertConfig(id2label=sorted_classes(known))


def _tagged(entry: Cell) -> Tagged:
    """An entry that has been checked."""
    tags = entry_of(entry, "tags")
    assert isinstance(tags, list)
    return Tagged([str(tag) for tag in tags], [])


def _read_tags(entry: Cell, example: WordsExample, path: str, number: int) -> list[str]:
    """The tags of an entry of a predictions file, one for each word of the example."""
    gold = needed(example.tags, example.where)
    given = entry_of(entry, "tags")
    if not isinstance(given, list):
        raise InputError(f"{path}: entry {number} is {str(given)[:40]}, expected a list of tags")
    tags = [tag for tag in given if isinstance(tag, str)]
    if len(tags) < len(given):
        raise InputError(f"{path}: entry {number} has tags that are no text")
    words = entry.get("words") if isinstance(entry, dict) else None
    if words is not None and words != list(example.words):
        raise InputError(
            f"{path}: entry {number} is of other words than {example.where}; are they of the same "
            "data, in the same order?"
        )
    if len(tags) != len(gold):
        raise InputError(f"{path}: entry {number} has {len(tags)} tags for {len(gold)} words")
    return tags


def _both(
    examples: Sequence[WordsExample], predictions: Sequence[Tagged]
) -> tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]:
    """The tags of each sentence: predicted, and gold."""
    return Mapped(lambda p: p.tags, predictions), Mapped(_gold, examples)


def _gold(example: WordsExample) -> Sequence[str]:
    return example.tags or ()


def _tags_of(examples: Sequence[WordsExample]) -> Iterator[str]:
    return itertools.chain.from_iterable(map(_gold, examples))


def _check_tags(examples: Sequence[WordsExample]) -> None:
    """Refuse to learn the words themselves, from a column that was taken for the tags."""
    words = same = 0
    for e in examples:
        words += len(e.tags or ())
        same += sum(map(operator.eq, e.words, e.tags or ()))
    if words >= 20 and 2 * same > words:
        raise InputError(
            f"{examples[0].where}: {same} of {words} tags are the word itself; name the "
            "column of the tags with --label_column_name"
        )


def _odd_tag(examples: Sequence[WordsExample]) -> list[str]:
    """A line of the one tag that is not of the scheme of the others, where it occurs first."""
    counts = Counter(_tags_of(examples))
    odd, others = odd_tags(counts)
    if not odd:
        return []
    places = (
        (e.where, number, word, tag)
        for e in examples
        for number, (word, tag) in enumerate(zip(e.words, e.tags or (), strict=False), 1)
    )
    where, number, word, tag = next(place for place in places if place[3] == odd[0])
    count = counts[tag]
    more = f" (and {len(odd) - 1} other tags like it)" if len(odd) > 1 else ""
    return [
        f"{where}, word {number} ({shown(word)}): the tag {shown(tag)!r} occurs {count} "
        f"time{'s'[: count > 1]}{more} and is not of the scheme of {names_of(others)}; with it "
        "only accuracy can be scored, no entities: correct it in the file"
    ]


def _targets(examples: Sequence[WordsExample], cfg: BertConfig) -> list[np.ndarray]:
    """Of each example the classes of its words, int32."""
    known = {name: number for number, name in enumerate(cfg.id2label)}
    targets = []
    for e in examples:
        unknown = next((tag for tag in e.tags or () if tag not in known), None)
        if unknown is not None:
            number_of(unknown, cfg, e.where)  # raises
        targets.append(np.array([known[tag] for tag in e.tags or ()], np.int32))
    return targets


def _inside(names: Sequence[str]) -> np.ndarray:
    """Of each class the one of a word's further sub-words: I-PER for B-PER, else itself."""
    number = {name: n for n, name in enumerate(names)}
    return np.array([number.get(re.sub("^B", "I", name), n) for n, name in enumerate(names)])
