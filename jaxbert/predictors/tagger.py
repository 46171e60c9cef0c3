"""Tagger: entities in texts and labels of their words."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers.models import WordPiece

from jaxbert.data.batch import Batch
from jaxbert.data.documents import neighbours
from jaxbert.data.encode_words import WordTokens, word_windows
from jaxbert.data.features import Features
from jaxbert.data.rows import replace_surrogates
from jaxbert.data.template import template_of
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
from jaxbert.predictors.predictor import CallSettings, Predictor, answer_in_chunks, as_list
from jaxbert.predictors.text_pieces import Offsets, Piece, Text, with_offsets
from jaxbert.tasks.tagging import Tagging

Item = str | Sequence[str] | Sequence[Sequence[str]]  # a text, words, or invalid


@dataclasses.dataclass(frozen=True)
class TaggerSettings(CallSettings):
    """The keywords of a call that can be given when the model is opened; see the call."""

    aggregation_strategy: str | None = None
    ignore_labels: Sequence[str] = ("O",)
    stride: int | None = None
    document_context: bool | None = None

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
        """The strategy with its name in lower case."""
        wanted = str(self.aggregation_strategy or "none").lower()
        return next(name for name in STRATEGIES if name == wanted)


@dataclasses.dataclass(frozen=True)
class _Probabilities:
    """The probabilities of all classes for each token, (B, longest, C)."""

    longest: int

    def __call__(self, outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        scores = jax.nn.softmax(outputs["logits"], axis=-1)
        missing = self.longest - scores.shape[1]  # batches are as long as their bucket
        return {"scores": jnp.pad(scores, ((0, 0), (0, missing), (0, 0)))}


class Tagger(Predictor[TaggingOptions, TaggerSettings]):
    """Entities and labels, with the interface of transformers' token-classification pipeline. Texts
    of any length are read in windows. A model that was trained with document_context takes a list
    for the sentences of a document.

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
        document_context: bool | None = None,
        batch_size: int | None = None,
        **unknown: object,
    ) -> list[Entity] | list[list[Entity]] | Iterator[list[Entity]]:
        """Tag one text or several.

        Args:
            inputs: a text, a list of texts, or a generator of texts, which is read batch_size at a
                time. With is_split_into_words, a list of words or of lists of words.
            aggregation_strategy: "none", the default, gives every token; "simple" groups tokens of
                one entity; "first", "average" and "max" group words, whose label is that of their
                first token, of the best mean score, or of the token with the highest score.
            ignore_labels: labels that are left out; ["O"] by default.
            stride: cut a long text like the pipeline, into windows of the tokenizer's
                model_max_length that share this many tokens, even within words. By default windows
                have complete words and the length of the training's windows, and the label of each
                word comes from the window in which it has the most context.
            is_split_into_words: each input is a list of words; False by default.
            delimiter: with is_split_into_words, the string that joins the words to the text that
                start and end refer to; a space by default.
            offset_mapping: start and end of each token, including [CLS] and [SEP], to use instead
                of the tokenizer's; for several texts a list of these.
            document_context: the texts of the list are the sentences of one document, in order,
                and each is read with as much of the others on both sides as fits in the training's
                max_seq_length; by default as the model was trained. It is not for stride or a
                generator. Another document is another call.
            batch_size: windows computed at once; by default as given when it was opened.

        Returns:
            For a text a list of dicts, as group_entities returns it. For a list of texts, and
            always for words, a list of such lists. For a generator an iterator.

        Raises:
            InputError: an input has the wrong form, or a keyword's value is wrong.
            TypeError: a keyword is unknown.
        """
        self._refuse_unknown(
            unknown, [*vars(self._settings), "is_split_into_words", "delimiter", "offset_mapping"]
        )
        keywords = {
            "aggregation_strategy": aggregation_strategy,
            "ignore_labels": ignore_labels,
            "stride": stride,
            "document_context": document_context,
        }
        settings = self._settings_of(keywords)
        if not is_split_into_words and delimiter is not None:
            raise InputError("delimiter is for is_split_into_words=True")
        joiner = (" " if delimiter is None else delimiter) if is_split_into_words else None
        size = self._rows(batch_size)
        together = settings.document_context
        if together is None:
            together = self._options.document_context

        def answer(first: int, items: Sequence[Item]) -> list[list[Entity]]:
            texts = [self._read(index, item, joiner) for index, item in enumerate(items, first)]
            if offset_mapping is not None:
                texts = with_offsets(texts, offset_mapping)
            if together and len(texts) > 1 and settings.stride is not None:
                raise InputError(
                    "stride cuts every text as the pipeline does, without the others; leave it "
                    "out, or give document_context=False"
                )
            parts = self._windows(texts, settings.stride, size, together)
            strategy, ignore = settings.strategy, settings.ignore_labels
            return [self._entities(windows, strategy, ignore) for windows in parts]

        if isinstance(inputs, Iterator):
            if offset_mapping is not None:
                raise InputError(
                    "offset_mapping is not supported for a generator; give the texts as a list"
                )
            if together:
                raise InputError(
                    "a generator is read text by text, and this model reads the sentences of a "
                    "document together: give them as a list, or give document_context=False"
                )
            return answer_in_chunks(inputs, size, answer)
        single = isinstance(inputs, str)
        items: list[Item] = [inputs] if single else [*as_list("inputs", inputs)]
        if is_split_into_words and not all(isinstance(item, list | tuple) for item in items):
            items = [inputs]  # one list of words; like the pipeline's, its answer is in a list
        results = answer(0, items)
        return results[0] if single else results

    @functools.cached_property
    def _prefix(self) -> str | None:
        """What the tokens inside a word begin with; WordPiece alone has it."""
        model = self.model.tokenizer.backend_tokenizer.model
        return model.continuing_subword_prefix if isinstance(model, WordPiece) else None

    def _windows(
        self, texts: Sequence[Text], stride: int | None, size: int, together: bool
    ) -> list[list[list[Token]]]:
        """The tokens of each text by window; without a stride, all tokens are in one list."""
        if stride is None:
            return [[tokens] for tokens in self._tokens(texts, size, together)]
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

    def _read(self, index: int, item: Item, joiner: str | None) -> Text:
        """A text and its tokens. With a joiner, words are tokenized one by one and joined by it.

        Raises:
            InputError: the item is not a text, or not a list of words.
        """
        if joiner is None:
            if not isinstance(item, str):
                raise InputError(
                    f"text {index} is not a string; for a list of words give "
                    "is_split_into_words=True"
                )
            words = [item]
        else:
            if not isinstance(item, list | tuple):
                raise InputError(f"text {index} is not a list of words")
            words = [word for word in item if isinstance(word, str)]
            if len(words) < len(item):
                raise InputError(f"text {index} has a word that is not a string")
        words = [replace_surrogates(word) for word in words]
        joined = (joiner or "").join(words)
        backend = self.model.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        pieces, offset = [], 0
        for word in words:
            encoding = backend.encode(word, add_special_tokens=False)
            pieces += [
                Piece(
                    token,
                    spelling,
                    offset + start,
                    offset + end,
                    self._begins_word(joined, token, spelling, offset + start),
                )
                for token, spelling, (start, end) in zip(
                    encoding.ids, encoding.tokens, encoding.offsets, strict=True
                )
            ]
            offset += len(word) + len(joiner or "")
        return Text(joined, pieces)

    def _begins_word(self, text: str, token: int, spelling: str, start: int) -> bool:
        """Whether a token begins a word, by the pipeline's rule: WordPiece says so, and the tokens
        of other tokenizers are at the start or beside a space, or unknown."""
        if self._prefix:
            return not spelling.startswith("##")
        unknown = token == self.model.tokenizer.unk_token_id
        return unknown or start == 0 or " " in text[start - 1 : start + 1]

    def _token(self, text: Text, piece_index: int, index: int, scores: np.ndarray) -> Token:
        """A piece of a text as a Token, with its scores (C,)."""
        piece = text.pieces[piece_index]
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

    def _tokens(self, texts: Sequence[Text], size: int, together: bool) -> list[list[Token]]:
        """Every token of every text, from the window in which its word has the most context.

        Args:
            together: each text is read with those around it.
        """
        words = [text.words() for text in texts]
        results: list[list[Token]] = [[] for _ in texts]
        owners = [index for index, text_words in enumerate(words) if text_words]
        if not owners:
            return results
        counts = [len(words[index]) for index in owners]
        options = self._options
        longest = options.max_seq_length
        of_texts = [[[texts[n].pieces[i] for i in word] for word in words[n]] for n in owners]
        around = [*neighbours(of_texts, longest)] if together else [((), ())] * len(owners)
        read = [
            word
            for own, (before, after) in zip(of_texts, around, strict=True)
            for word in (*before, *own, *after)
        ]
        pieces = [piece for word in read for piece in word]
        features = word_windows(
            WordTokens(
                ids=np.array([piece.token for piece in pieces], np.int32),
                offsets=np.array([(piece.start, piece.end) for piece in pieces]),
                sizes=np.array([len(word) for word in read]),
            ),
            counts,
            template_of(self.model.tokenizer),
            max_length=longest,
            stride=Tagging(options).stride,
            around=np.array([(len(b), len(a)) for b, a in around]) if together else None,
        )
        arrays = self._compute(features, _Probabilities(longest), longest=longest, size=size)
        starts = np.flatnonzero(features.host["word"] >= 0)
        windows = np.searchsorted(features.bounds, starts, side="right") - 1
        for start, window in zip(starts.tolist(), windows.tolist(), strict=True):
            owner = owners[int(features.example[window])]
            column = start - int(features.bounds[window])
            last = int(features.bounds[window + 1] - features.bounds[window]) - 2
            for offset, index in enumerate(words[owner][int(features.host["word"][start])]):
                position = min(column + offset, last)  # a word longer than a window
                scores = arrays["scores"][window, position]
                results[owner].append(self._token(texts[owner], index, index + 1, scores))
        return [sorted(tokens, key=lambda token: token.index) for tokens in results]

    def _strided_tokens(
        self, texts: Sequence[Text], stride: int, size: int
    ) -> list[list[list[Token]]]:
        """The tokens of every window of every text, numbered from 1 in each window."""
        positions = self.model.cfg.positions
        length = min(int(self.model.tokenizer.model_max_length), positions)
        room = length - 2
        if stride >= room:
            raise InputError(
                f"stride is {stride}: windows have {room} tokens between [CLS] and [SEP], and must "
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
                    self._token(texts[owner], index, index - start + 1, rows[index - start])
                    for index in range(start, stop)
                ]
            )
        return results
