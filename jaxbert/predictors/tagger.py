"""Tagger: labels of words and entities of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbert.data.words import WordsExample
from jaxbert.decoding.tags import Strategy, Token, group_entities
from jaxbert.errors import InputError
from jaxbert.options import TaggingOptions
from jaxbert.predictors.predictor import Predictor, listed_texts
from jaxbert.tasks.tagging import TAGGING


class Tagger(Predictor):
    """Entities and labels, called and answering as transformers' token-classification pipeline;
    texts of any length are read in windows.

    >>> tag = Tagger.from_pretrained("runs/ner")  # doctest: +SKIP
    >>> tag("Anna lives in New York.", aggregation_strategy="simple")  # doctest: +SKIP
    [{'entity_group': 'PER', 'score': 0.99, 'word': 'anna', 'start': 0, 'end': 4}, ...]
    """

    task = TAGGING
    kind = TaggingOptions

    def __call__(
        self,
        inputs: str | Sequence[str],
        *,
        aggregation_strategy: Strategy = "none",
        ignore_labels: Sequence[str] = ("O",),
    ) -> list[Any]:
        """Tag one text, or each of a list.

        Args:
            aggregation_strategy: "none" gives every token, "simple" groups tokens of one entity,
                "first" groups words that each have the label of their first token.
            ignore_labels: labels that are left out.

        Returns:
            A list of dicts for a single text, as group_entities gives them; a list of such lists
            for a list.

        Raises:
            InputError: a text is not a string, or no such strategy.
        """
        if aggregation_strategy not in ("none", "simple", "first"):
            raise InputError(
                f"aggregation_strategy {aggregation_strategy!r}: give none, simple or first"
            )
        single, texts = listed_texts(inputs)
        results = [
            group_entities(
                tokens,
                aggregation_strategy,
                join=self._tokenizer.convert_tokens_to_string,
                ignore=ignore_labels,
            )
            for tokens in self._tokens(texts)
        ]
        return results[0] if single else results

    def _tokens(self, texts: list[str]) -> list[list[Token]]:
        """Every token of every text with its label."""
        pieces = [self._pieces(text) for text in texts]
        # A token that does not begin with ## begins a word, as transformers' pipeline sees it.
        words = [
            [text[group[0][1] : group[-1][2]] for group in groups]
            for text, groups in zip(texts, pieces, strict=True)
        ]
        examples = [
            WordsExample(f"text {number}", tuple(row), None) for number, row in enumerate(words)
        ]
        filled = [number for number, e in enumerate(examples) if e.words]
        if not filled:
            return [[] for _ in texts]
        features, arrays = self._arrays([examples[n] for n in filled], self._options)
        results: list[list[Token]] = [[] for _ in texts]
        starts = np.flatnonzero(features.host["word"] >= 0)
        windows = np.searchsorted(features.bounds, starts, side="right") - 1
        for start, window in zip(starts.tolist(), windows.tolist(), strict=True):
            number = filled[int(features.example[window])]
            group = pieces[number][int(features.host["word"][start])]
            column = start - int(features.bounds[window])
            last = int(features.bounds[window + 1] - features.bounds[window]) - 2
            for k, (piece, begin, end, index) in enumerate(group):
                place = min(column + k, last)  # a word longer than a window
                results[number].append(
                    Token(
                        start=begin,
                        end=end,
                        word=piece,
                        index=index,
                        first=k == 0,
                        label=self._cfg.id2label[int(arrays["label"][window, place])],
                        score=float(arrays["score"][window, place]),
                    )
                )
        return [sorted(tokens, key=lambda token: token.index) for tokens in results]

    def _pieces(self, text: str) -> list[list[tuple[str, int, int, int]]]:
        """The tokens of a text in words: (piece, start, end, index with [CLS] as 0)."""
        backend = self._tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        encoding = backend.encode(text, add_special_tokens=False)
        words: list[list[tuple[str, int, int, int]]] = []
        for index, (piece, (a, b)) in enumerate(
            zip(encoding.tokens, encoding.offsets, strict=True), start=1
        ):
            shown = text[a:b] if piece == self._tokenizer.unk_token else piece
            if words and piece.startswith("##"):
                words[-1].append((shown, a, b, index))
            else:
                words.append([(shown, a, b, index)])
        return words
