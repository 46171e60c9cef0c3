"""FillMask: the likeliest tokens in place of [MASK]."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
from jaxbert.model.config import BertConfig
from jaxbert.options import MLMOptions
from jaxbert.predictors.predictor import Predictor, listed_texts
from jaxbert.tasks.mlm import MLM


@dataclasses.dataclass(frozen=True)
class _FillOptions(MLMOptions):
    top_k: int = 5


def _encode(
    examples: Sequence[TextExample], tokenizer: Any, options: _FillOptions, cfg: BertConfig
) -> Features:
    """Rows with the positions of their [MASK], masked_positions (M, P) int32, 0 where not used.

    P is a power of two, so that few shapes are compiled.
    """
    features = encode_texts(examples, tokenizer, max_length=options.max_seq_length, targets=None)
    bounds = features.bounds
    hits = np.flatnonzero(features.tokens["input_ids"] == tokenizer.mask_token_id)
    row = np.searchsorted(bounds, hits, side="right") - 1
    counts = np.bincount(row, minlength=len(features))
    for example, count in zip(examples, counts.tolist(), strict=True):
        written = example.text.count(tokenizer.mask_token)
        if not written:
            raise InputError(f"{example.where}: there is no {tokenizer.mask_token} in it")
        if count < written:
            raise InputError(
                f"{example.where}: a {tokenizer.mask_token} is not within the first "
                f"{options.max_seq_length} tokens, which the model reads; shorten the text"
            )
    positions = np.zeros((len(features), 1 << int(counts.max() - 1).bit_length()), np.int32)
    slot = np.arange(len(hits)) - np.repeat(np.cumsum(counts) - counts, counts)
    positions[row, slot] = hits - bounds[row]
    return dataclasses.replace(features, rows={"masked_positions": positions})


def _reduce(options: _FillOptions) -> Callable[[Arrays, Arrays], Arrays]:
    """Of every [MASK] the top_k likeliest tokens, token and score (B, P, top_k)."""

    def reduce(outputs: Arrays, batch: Arrays) -> Arrays:
        score, token = jax.lax.top_k(jax.nn.softmax(outputs["logits"], axis=-1), options.top_k)
        return {"token": token, "score": score}

    return reduce


class FillMask(Predictor):
    """The likeliest tokens in place of [MASK], called and answering as transformers' fill-mask
    pipeline.

    >>> fill = FillMask.from_pretrained("bert-base-uncased")  # doctest: +SKIP
    >>> fill("Paris is the [MASK] of France.")[0]["token_str"]  # doctest: +SKIP
    'capital'
    """

    task = dataclasses.replace(MLM, encode=_encode, reduce=_reduce, disturb=None)
    kind = _FillOptions

    def __call__(self, inputs: str | Sequence[str], *, top_k: int = 5) -> list[Any]:
        """Fill one text, or each of a list.

        Args:
            inputs: texts with at least one [MASK] each.
            top_k: so many tokens for each [MASK], best first.

        Returns:
            For a text a list of {score, token, token_str, sequence}; with several [MASK] a list of
            such lists, one for each, the others left in `sequence`. For a list a list of these.

        Raises:
            InputError: a text has no [MASK], or one that is not within the longest row; or top_k is
                below 1.
        """
        if not 1 <= top_k <= self._cfg.vocab_size:
            raise InputError(f"top_k is {top_k}: it must be from 1 to {self._cfg.vocab_size}")
        single, texts = listed_texts(inputs)
        if not texts:
            return []
        examples = [TextExample(f"text {n}", text) for n, text in enumerate(texts)]
        # A power of two, and cut below: so few programs are compiled.
        most = min(1 << max(top_k - 1, 7).bit_length(), self._cfg.vocab_size)
        options = dataclasses.replace(self._options, top_k=most)
        features, arrays = self._arrays(examples, options)
        results = [
            self._fillings(
                features.tokens["input_ids"][features.bounds[number] : features.bounds[number + 1]],
                arrays["token"][number, :, :top_k],
                arrays["score"][number, :, :top_k],
            )
            for number in range(len(texts))
        ]
        return results[0] if single else results

    def _fillings(self, ids: np.ndarray, tokens: np.ndarray, scores: np.ndarray) -> list[Any]:
        """Of one text: ids (T,) with [CLS] and [SEP], tokens and scores (P, top_k)."""
        decode, pad = self._tokenizer.decode, self._tokenizer.pad_token_id
        places = np.flatnonzero(ids == self._tokenizer.mask_token_id)
        masks: list[Any] = []
        for place, row, probabilities in zip(places, tokens, scores, strict=False):
            found = []
            for token, score in zip(row.tolist(), probabilities.tolist(), strict=True):
                filled = ids.copy()
                filled[place] = token
                found.append(
                    {
                        "score": score,
                        "token": token,
                        "token_str": decode([token]),
                        # As the pipeline does: but for [PAD], the special tokens stay where other
                        # masks are left.
                        "sequence": decode(
                            filled[filled != pad], skip_special_tokens=len(places) == 1
                        ),
                    }
                )
            masks.append(found)
        return masks[0] if len(masks) == 1 else masks
