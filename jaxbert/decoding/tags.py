"""Tags of tokens to a label for every word, and to entities cut from a text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Literal, TypedDict, get_args

import numpy as np

Strategy = Literal["none", "simple", "first", "average", "max"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


class Entity(TypedDict, total=False):
    """What the pipeline gives of a token, or of an entity; see group_entities."""

    entity: str
    entity_group: str
    score: np.floating
    index: int
    word: str
    start: int
    end: int


def word_labels(
    word: np.ndarray,
    *,
    bounds: np.ndarray,
    example: np.ndarray,
    label: np.ndarray,
    score: np.ndarray,
    counts: Sequence[int] | np.ndarray,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The label and score of every word of every example, from the tokens of their windows.

    M windows, T tokens of the longest, W words of an example, N examples.

    Args:
        word: (total,) int32, for the token that carries a word's prediction the number of that
            word in its example, and -1 for all others; tokens of all windows one behind the other.
        bounds: (M + 1,), window m has the tokens bounds[m] to bounds[m + 1].
        example: (M,), the example that each window is of.
        label: (M, T) int32, the best label of each token; score: (M, T) float32, its probability.
        counts: (N,), the words of each example.

    Returns:
        For each example: labels (W,) int32 and scores (W,) float32.

    Raises:
        ValueError: a word has no prediction, or more than one.
    """
    counts = np.asarray(counts, np.int64)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    token = np.flatnonzero(word >= 0)
    window = np.searchsorted(bounds, token, side="right") - 1
    number, owner = word[token].astype(np.int64), example[window]
    if (outside := number >= counts[owner]).any():
        at = int(np.argmax(outside))
        n = int(owner[at])
        raise ValueError(f"example {n} has {counts[n]} words; a token is of word {number[at]}")
    slot = ends[owner] - counts[owner] + number
    times = np.bincount(slot, minlength=total)
    if (times != 1).any():
        at = int(np.argmax(times != 1))
        n = int(np.searchsorted(ends, at, side="right"))
        first = int(ends[n] - counts[n])
        raise ValueError(f"word {at - first} of example {n} has {times[at]} predictions, not 1")
    labels, scores = np.empty(total, np.int32), np.empty(total, np.float32)
    position = token - bounds[window]
    labels[slot], scores[slot] = label[window, position], score[window, position]
    return list(zip(np.split(labels, ends), np.split(scores, ends), strict=True))[: len(ends)]


@dataclasses.dataclass(frozen=True)
class Token:
    """A token of a text, or a word, with the probability of each label.

    Attributes:
        start, end: its characters, text[start:end].
        word: the tokenizer's piece ("##ing"), or the text itself where that is "[UNK]".
        index: its position in the model's input, where [CLS] is 0.
        first: whether it begins a word; of WordPiece, whether the piece begins without "##". The
            pipeline of transformers guesses it from lengths, and takes a word with a decomposed
            accent inside, which the tokenizer strips, for a part of the word before.
        scores: (C,) floats.
    """

    start: int
    end: int
    word: str
    index: int
    first: bool
    scores: np.ndarray


def group_entities(
    tokens: Sequence[Token],
    strategy: Strategy,
    *,
    labels: Sequence[str],
    join: Callable[[list[str]], str],
    ignore: Collection[str] = ("O",),
) -> list[Entity]:
    """The entities of one text, as the token-classification pipeline of transformers gives them.

    Tokens beside each other are one entity if they are of one type, up to the next B- tag. Only B-
    and I- are known as beginnings of labels; a label such as E-PER is a type of its own, as there.
    `score` is the mean over the entity's tokens or words, a float of numpy of the type of theirs.

    Args:
        tokens: all tokens of the text without special tokens, in order.
        strategy: "none" gives every token, "simple" groups tokens. The others group words, which
            have the label and score of their first token ("first"), of the token that is surest
            ("max"), or the best mean score of their tokens ("average").
        labels: (C,), their names.
        join: pieces -> text, the tokenizer's convert_tokens_to_string.
        ignore: labels and types that are left out.

    Returns:
        Dicts with entity, score, index, word, start and end for "none"; else with entity_group,
        score, word, start and end. start and end are characters of the text.

    Source: `aggregate` of transformers' TokenClassificationPipeline.

    >>> tokens = [Token(0, 3, "new", 1, True, np.array([0.25, 0.75, 0.0])),
    ...           Token(4, 8, "york", 2, True, np.array([0.25, 0.5, 0.25]))]
    >>> group_entities(tokens, "simple", labels=["O", "I-LOC", "I-PER"], join=" ".join)
    [{'entity_group': 'LOC', 'score': np.float64(0.625), 'word': 'new york', 'start': 0, 'end': 8}]
    """
    if strategy == "none":
        return [
            {
                "entity": label,
                "score": score,
                "index": token.index,
                "word": token.word,
                "start": token.start,
                "end": token.end,
            }
            for token in tokens
            for label, score in [_best(token, labels)]
            if label not in ignore
        ]
    if strategy != "simple":
        words = _runs(tokens, lambda _, token: token.first)
        tokens = [
            dataclasses.replace(
                word[0],
                end=word[-1].end,
                word=join([token.word for token in word]),
                scores=_word_scores([token.scores for token in word], strategy),
            )
            for word in words
        ]

    def begins_entity(previous: Token, token: Token) -> bool:
        before, label = _best(previous, labels)[0], _best(token, labels)[0]
        return label.startswith("B-") or _type(before) != _type(label)

    groups: list[Entity] = [
        {
            # The pipeline cuts every label at its first hyphen here, not only behind B and I.
            "entity_group": _best(group[0], labels)[0].split("-", 1)[-1],
            "score": np.mean([_best(token, labels)[1] for token in group]),
            "word": join([token.word for token in group]),
            "start": group[0].start,
            "end": group[-1].end,
        }
        for group in _runs(tokens, begins_entity)
    ]
    return [group for group in groups if group["entity_group"] not in ignore]


def merge_windows(entities: Sequence[Entity]) -> list[Entity]:
    """The entities of windows that overlap, of each text once.

    Of two that overlap the longer one stays, of two that are as long the one with the greater
    score. All must be of one text, in any order.

    Source: `aggregate_overlapping_entities` of transformers' TokenClassificationPipeline.

    >>> merge_windows([{"start": 0, "end": 3, "score": 0.5}, {"start": 0, "end": 8, "score": 0.25}])
    [{'start': 0, 'end': 8, 'score': 0.25}]
    """
    kept: list[Entity] = []
    best: Entity | None = None
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if best is None:
            best = entity
        elif best["start"] <= entity["start"] < best["end"]:
            best = max(best, entity, key=lambda one: (one["end"] - one["start"], one["score"]))
        else:
            kept.append(best)
            best = entity
    return kept if best is None else [*kept, best]


def _best(token: Token, labels: Sequence[str]) -> tuple[str, np.floating]:
    """The likeliest label, and its score."""
    number = int(token.scores.argmax())
    return labels[number], token.scores[number]


def _word_scores(scores: Sequence[np.ndarray], strategy: Strategy) -> np.ndarray:
    """The scores (C,) of a word, of those of its tokens."""
    if strategy == "average":
        mean: np.ndarray = np.mean(np.stack(scores), axis=0)
        return mean
    return max(scores, key=lambda row: row.max()) if strategy == "max" else scores[0]


def _runs(tokens: Sequence[Token], begins: Callable[[Token, Token], bool]) -> list[list[Token]]:
    """Cut before every token for which begins(previous token, token)."""
    runs: list[list[Token]] = []
    for token in tokens:
        if runs and not begins(runs[-1][-1], token):
            runs[-1].append(token)
        else:
            runs.append([token])
    return runs


def _type(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label
