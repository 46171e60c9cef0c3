"""Tagger: labels of words and entities of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.features import Features
from jaxbert.data.rows import whole_text
from jaxbert.data.words import WordsExample
from jaxbert.decoding.tags import (
    STRATEGIES,
    Entity,
    Strategy,
    Token,
    group_entities,
    merge_windows,
)
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
from jaxbert.options.task_settings import TaggingOptions
from jaxbert.predictors.predictor import CallSettings, Predictor, listed, stream
from jaxbert.tasks.tagging import Tagging

Offsets = Sequence[tuple[int, int]]
Item = str | Sequence[str] | Sequence[Sequence[str]]  # a text, or words, or what is neither


@dataclasses.dataclass(frozen=True)
class TaggerSettings(CallSettings):
    """The keywords of a call that can be given when the model is opened; see the call."""

    aggregation_strategy: str | None = None
    ignore_labels: Sequence[str] = ("O",)
    stride: int | None = None

    def __post_init__(self) -> None:
        name = self.aggregation_strategy
        if name is not None and str(name).lower() not in STRATEGIES:
            raise InputError(f"aggregation_strategy {name!r}: give {', '.join(STRATEGIES)}")
        if isinstance(self.ignore_labels, str):
            raise InputError(f"ignore_labels is {self.ignore_labels!r}: give a list of labels")
        if self.stride is not None:
            if not isinstance(self.stride, int) or self.stride < 0:
                raise InputError(f"stride is {self.stride!r}: it must be a number of tokens")
            if name is not None and self.strategy == "none":
                raise InputError(
                    "stride needs an aggregation_strategy that gives entities: "
                    f"{', '.join(STRATEGIES[1:])}"
                )

    @property
    def strategy(self) -> Strategy:
        """The strategy by its name in small letters."""
        wanted = str(self.aggregation_strategy or "none").lower()
        return next(name for name in STRATEGIES if name == wanted)


class _Piece(NamedTuple):
    """A token of a text: its id, how the tokenizer writes it, and its characters."""

    token: int
    word: str
    start: int
    end: int

    @property
    def first(self) -> bool:
        """Whether it begins a word, as the pipeline sees it."""
        return not self.word.startswith("##")


@dataclasses.dataclass(frozen=True)
class _Text:
    """A text with its tokens, and with the offsets that the caller gives them, [CLS]'s first."""

    text: str
    pieces: list[_Piece]
    offsets: Offsets | None = None

    def words(self) -> list[list[int]]:
        """The numbers of the pieces of each word."""
        found: list[list[int]] = []
        for number, piece in enumerate(self.pieces):
            if piece.first or not found:
                found.append([])
            found[-1].append(number)
        return found


@dataclasses.dataclass(frozen=True)
class _Probabilities:
    """Of each token the probabilities of all classes, (B, longest, C)."""

    longest: int

    def __call__(self, outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        scores = jax.nn.softmax(outputs["logits"], axis=-1)
        missing = self.longest - scores.shape[1]  # batches are as long as their bucket
        return {"scores": jnp.pad(scores, ((0, 0), (0, missing), (0, 0)))}


class Tagger(Predictor[TaggingOptions, TaggerSettings]):
    """Entities and labels, called and answering as transformers' token-classification pipeline;
    texts of any length are read in windows.

    >>> tag = Tagger.from_pretrained("runs/ner")  # doctest: +SKIP
    >>> tag("Anna lives in New York.", aggregation_strategy="simple")  # doctest: +SKIP
    [{'entity_group': 'PER', 'score': np.float32(0.99), 'word': 'anna', 'start': 0, 'end': 4}, ...]
    """

    task = Tagging
    options_cls = TaggingOptions
    settings_cls = TaggerSettings
    retired: ClassVar[Mapping[str, str]] = {
        "grouped_entities": 'give aggregation_strategy="simple"',
        "ignore_subwords": 'give aggregation_strategy="first"',
    }

    def __call__(
        self,
        inputs: str | Sequence[str] | Sequence[Sequence[str]] | Iterator[str | Sequence[str]],
        *,
        aggregation_strategy: str | None = None,
        ignore_labels: Sequence[str] | None = None,
        stride: int | None = None,
        is_split_into_words: bool = False,
        delimiter: str | None = None,
        offset_mapping: Offsets | Sequence[Offsets] | None = None,
        batch_size: int | None = None,
        **unknown: object,
    ) -> list[Entity] | list[list[Entity]] | Iterator[list[Entity]]:
        """Tag one text, or each of many.

        Args:
            inputs: a text, a list of texts, or a generator of texts, which is read batch_size at a
                time. With is_split_into_words a list of words, or of lists of words.
            aggregation_strategy: "none", the default, gives every token; "simple" groups tokens of
                one entity; "first", "average" and "max" group words, which have the label of their
                first token, the best mean score of their tokens, or the label of the surest token.
            ignore_labels: labels that are left out; ["O"] by default.
            stride: cuts a long text as the pipeline does, into windows of the tokenizer's
                model_max_length that share so many tokens, wherever these end. By default there
                are windows of whole words, as long as those of the training, and each word has
                its label from the one in which it has most context.
            is_split_into_words: each input is a list of words; False by default.
            delimiter: what is between the words in the text that start and end are characters of,
                with is_split_into_words; a space by default.
            offset_mapping: start and end of each token, [CLS] and [SEP] included, in place of the
                tokenizer's; for several texts a list of these.
            batch_size: windows computed at once; by default as it was opened.

        Returns:
            A list of dicts for a text, as group_entities gives them; for a list of texts, and for
            words always, a list of such lists; for a generator an iterator.

        Raises:
            InputError: an input is not of the form that it should be, or a keyword's value wrong.
            TypeError: no such keyword.
        """
        self._refuse(
            unknown, [*vars(self._settings), "is_split_into_words", "delimiter", "offset_mapping"]
        )
        given = {
            "aggregation_strategy": aggregation_strategy,
            "ignore_labels": ignore_labels,
            "stride": stride,
        }
        settings = self._with(given)
        if not is_split_into_words and delimiter is not None:
            raise InputError("delimiter is for is_split_into_words=True")
        glue = (" " if delimiter is None else delimiter) if is_split_into_words else None
        size = self._rows(batch_size)

        def answer(first: int, items: Sequence[Item]) -> list[list[Entity]]:
            texts = [self._read(n, item, glue) for n, item in enumerate(items, first)]
            if offset_mapping is not None:
                texts = _with_offsets(texts, offset_mapping)
            parts = self._windows(texts, settings.stride, size)
            strategy, ignore = settings.strategy, settings.ignore_labels
            return [self._entities(windows, strategy, ignore) for windows in parts]

        if isinstance(inputs, Iterator):
            if offset_mapping is not None:
                raise InputError("offset_mapping is for texts that are given as a list")
            return stream(inputs, size, answer)
        single = isinstance(inputs, str)
        items: list[Item] = [inputs] if single else [*listed("inputs", inputs)]
        if is_split_into_words and not all(isinstance(item, list | tuple) for item in items):
            items = [inputs]  # one list of words; the pipeline's answer is in a list too
        found = answer(0, items)
        return found[0] if single else found

    def _windows(
        self, texts: Sequence[_Text], stride: int | None, size: int
    ) -> list[list[list[Token]]]:
        """Of each text the tokens of its windows; without a stride all tokens in one."""
        if stride is None:
            return [[tokens] for tokens in self._tokens(texts, size)]
        return self._strided_tokens(texts, stride, size)

    def _entities(
        self, windows: Sequence[list[Token]], strategy: Strategy, ignore: Sequence[str]
    ) -> list[Entity]:
        """The answer for a text, from the tokens of its windows."""
        entities = [
            entity
            for tokens in windows
            for entity in group_entities(
                tokens,
                strategy,
                labels=self.model.cfg.id2label,
                join=self.model.tokenizer.convert_tokens_to_string,
                ignore=ignore,
            )
        ]
        return entities if len(windows) == 1 else merge_windows(entities)

    def _read(self, number: int, item: Item, glue: str | None) -> _Text:
        """A text and its tokens; with `glue` of words, which are cut one by one and joined by it.

        Raises:
            InputError: it is no text, or no list of words.
        """
        if glue is None:
            if not isinstance(item, str):
                raise InputError(
                    f"text {number} is not a string; for a list of words give "
                    "is_split_into_words=True"
                )
            words = [item]
        else:
            if not isinstance(item, list | tuple):
                raise InputError(f"text {number} is not a list of words")
            words = [word for word in item if isinstance(word, str)]
            if len(words) < len(item):
                raise InputError(f"text {number} has a word that is not a string")
        words = [whole_text(word) for word in words]
        backend = self.model.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        pieces, begin = [], 0
        for word in words:
            found = backend.encode(word, add_special_tokens=False)
            pieces += [
                _Piece(token, written, begin + start, begin + end)
                for token, written, (start, end) in zip(
                    found.ids, found.tokens, found.offsets, strict=True
                )
            ]
            begin += len(word) + len(glue or "")
        return _Text((glue or "").join(words), pieces)

    def _token(self, text: _Text, number: int, index: int, scores: np.ndarray) -> Token:
        """Piece `number` of a text, with its scores (C,)."""
        piece = text.pieces[number]
        start, end = (piece.start, piece.end) if text.offsets is None else text.offsets[index]
        unknown = piece.token == self.model.tokenizer.unk_token_id
        return Token(
            start=start,
            end=end,
            word=text.text[start:end] if unknown else piece.word,
            index=index,
            first=piece.first,
            scores=scores,
        )

    def _tokens(self, texts: Sequence[_Text], size: int) -> list[list[Token]]:
        """Every token of every text, from the window in which its word has most context."""
        words = [text.words() for text in texts]
        examples, owners = [], []
        for number, (text, numbers) in enumerate(zip(texts, words, strict=True)):
            spans = [(text.pieces[word[0]].start, text.pieces[word[-1]].end) for word in numbers]
            if spans:
                row = tuple(text.text[start:end] for start, end in spans)
                examples.append(WordsExample(f"text {number}", row, None))
                owners.append(number)
        results: list[list[Token]] = [[] for _ in texts]
        if not examples:
            return results
        options, cfg = self._options, self.model.cfg
        features = Tagging(options).encode(examples, self.model.tokenizer, cfg)
        longest = options.max_seq_length
        arrays = self._compute(features, _Probabilities(longest), longest=longest, size=size)
        starts = np.flatnonzero(features.host["word"] >= 0)
        windows = np.searchsorted(features.bounds, starts, side="right") - 1
        for start, window in zip(starts.tolist(), windows.tolist(), strict=True):
            owner = owners[int(features.example[window])]
            column = start - int(features.bounds[window])
            last = int(features.bounds[window + 1] - features.bounds[window]) - 2
            for k, number in enumerate(words[owner][int(features.host["word"][start])]):
                place = min(column + k, last)  # a word longer than a window
                scores = arrays["scores"][window, place]
                results[owner].append(self._token(texts[owner], number, number + 1, scores))
        return [sorted(tokens, key=lambda token: token.index) for tokens in results]

    def _strided_tokens(
        self, texts: Sequence[_Text], stride: int, size: int
    ) -> list[list[list[Token]]]:
        """The tokens of every window of every text; in a window they are numbered from 1."""
        positions = self.model.cfg.max_position_embeddings
        length = min(int(self.model.tokenizer.model_max_length), positions)
        room = length - 2
        if stride >= room:
            raise InputError(
                f"stride is {stride}: windows have {room} tokens beside [CLS] and [SEP], and must "
                "share fewer"
            )
        cls, sep = self.model.tokenizer.cls_token_id, self.model.tokenizer.sep_token_id
        spans, owners, ids = [], [], []
        for owner, text in enumerate(texts):
            count = len(text.pieces)
            # Windows up to the first that reaches the end.
            for start in range(0, max(count - stride, 1), room - stride):
                stop = min(start + room, count)
                spans.append((start, stop))
                owners.append(owner)
                ids += [cls, *(piece.token for piece in text.pieces[start:stop]), sep]
        input_ids = np.array(ids, np.int32)
        features = Features(
            bounds=np.cumsum([0, *(stop - start + 2 for start, stop in spans)]),
            tokens={"input_ids": input_ids, "token_type_ids": np.zeros_like(input_ids)},
            rows={},
            example=np.array(owners, np.int32),
        )
        results: list[list[list[Token]]] = [[] for _ in texts]
        if not spans:
            return results
        arrays = self._compute(features, _Probabilities(length), longest=length, size=size)
        for window, (owner, (start, stop)) in enumerate(zip(owners, spans, strict=True)):
            rows = arrays["scores"][window, 1:]
            results[owner].append(
                [
                    self._token(texts[owner], number, number - start + 1, rows[number - start])
                    for number in range(start, stop)
                ]
            )
        return results


def _with_offsets(texts: list[_Text], given: Offsets | Sequence[Offsets]) -> list[_Text]:
    """The texts with the caller's offsets: of one text its own, else a list for each.

    Raises:
        InputError: there are not as many as texts, or as tokens of one.
    """
    of_one: list[tuple[int, int]] = []
    rows: list[Offsets] = []
    for entry in given:
        match entry:
            case (int(start), int(end)):
                of_one.append((start, end))
            case _:
                rows.append(entry)
    if of_one:
        rows.append(of_one)
    if len(rows) != len(texts):
        raise InputError(f"offset_mapping is of {len(rows)} texts, and there are {len(texts)}")
    for number, (text, row) in enumerate(zip(texts, rows, strict=True)):
        if len(row) < len(text.pieces) + 1:
            raise InputError(
                f"text {number} has {len(text.pieces)} tokens and [CLS] before them, and "
                f"offset_mapping {len(row)} entries"
            )
    return [dataclasses.replace(t, offsets=row) for t, row in zip(texts, rows, strict=True)]
