"""Masked words with what a model would fill in, as a report shows them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxbert.report.records import Findings, Mark, Passage, Shown, Table
from jaxbert.tasks.shown_examples import class_shown, judged_findings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_AROUND = 40  # tokens on each side of a masked one


class MaskedWord(NamedTuple):
    """A masked token and the most likely ones in its place.

    Attributes:
        place: in the window's tokens.
        token: what stood there.
        seen: what the model read there: [MASK], another token, or that one.
        guesses, scores: the most likely tokens, best first, and their probabilities.
        score: the probability of what stood there.
    """

    place: int
    token: int
    seen: int
    guesses: list[int]
    scores: list[float]
    score: float


class ShownWindow(NamedTuple):
    """A window whose masked words are shown: its number, its tokens, and these."""

    number: int
    ids: list[int]
    masks: tuple[MaskedWord, ...]


def masks_shown(
    windows: Sequence[ShownWindow], count: int, tokenizer: PreTrainedTokenizerFast
) -> Findings:
    """A masked word each, in the text around it.

    Args:
        count: of all windows that were predicted.
    """
    shown, rows = [], []
    for window in windows:
        for mask in window.masks:
            seen = _seen(mask, tokenizer)
            shown.append(_shown(window, mask, seen, tokenizer))
            rows.append((seen, mask))
    tables = [_by_seen(rows, len(windows), count)]
    return dataclasses.replace(judged_findings(shown), tables=tables)


def _seen(mask: MaskedWord, tokenizer: PreTrainedTokenizerFast) -> str:
    if mask.seen == tokenizer.mask_token_id:
        return str(tokenizer.mask_token)
    return "the word itself" if mask.seen == mask.token else "another word"


def _by_seen(rows: Sequence[tuple[str, MaskedWord]], windows: int, count: int) -> Table:
    """How often the best guess was right, by what the model read in the word's place."""
    lines = []
    for kind in sorted({seen for seen, _ in rows}):
        masks = [mask for seen, mask in rows if seen == kind]
        first = sum(mask.guesses[0] == mask.token for mask in masks)
        among = sum(mask.token in mask.guesses for mask in masks)
        loss = -float(np.mean(np.log([max(mask.score, 1e-30) for mask in masks])))
        shares = (f"{100 * n / len(masks):.1f} %" for n in (first, among))
        lines.append((kind, str(len(masks)), *shares, f"{loss:.3f}"))
    best = len(rows[0][1].guesses) if rows else 0
    return Table(
        ("the model read", "words", "right at first", f"among the first {best}", "mean loss"),
        lines,
        title="Masked words that are shown below",
        note=f"They are of {windows:,} of {count:,} windows. Other words of a window are masked at "
        "the same time; the text shows what stood there.",
    )


def _shown(
    window: ShownWindow, mask: MaskedWord, seen: str, tokenizer: PreTrainedTokenizerFast
) -> Shown:
    names = _names([mask.token, *mask.guesses], tokenizer)
    scores = {names[token]: p for token, p in zip(mask.guesses, mask.scores, strict=True)}
    scores.setdefault(names[mask.token], mask.score)
    shown = class_shown(
        f"window {window.number + 1}, token {mask.place}",
        [_passage(window.ids, mask.place, tokenizer)],
        names[mask.token],
        names[mask.guesses[0]],
        scores,
        by_class=False,
    )
    return dataclasses.replace(shown, facets={"the model read": seen, **shown.facets})


def _names(tokens: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> dict[int, str]:
    """Each token as text; as the vocabulary has it where another one has the same text, or none."""
    texts = {token: str(tokenizer.decode([token])).strip() for token in tokens}
    alike = Counter(texts.values())
    return {
        token: text if text and alike[text] == 1 else str(tokenizer.convert_ids_to_tokens(token))
        for token, text in texts.items()
    }


def _passage(ids: Sequence[int], place: int, tokenizer: PreTrainedTokenizerFast) -> Passage:
    """The text around a token, which is marked where it can be told from the others."""
    first, last = max(1, place - _AROUND), min(len(ids) - 1, place + _AROUND + 1)
    while first > 1 and str(tokenizer.decode([ids[first]])).startswith("##"):
        first -= 1  # to the beginning of a word

    def text_to(end: int) -> str:
        return str(tokenizer.decode(list(ids[first:end])))

    before, through, text = text_to(place), text_to(place + 1), text_to(last)
    start = len(before) + len(through[len(before) :]) - len(through[len(before) :].lstrip())
    if not text.startswith(through) or not through.startswith(before) or start == len(through):
        return Passage("", text)
    return Passage("", text, [Mark(start, len(through), "", "gold")])
