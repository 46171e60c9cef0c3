"""FillMask: the most likely tokens for each [MASK]."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.rows import replace_surrogates
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.loaded.model import Reduce
from jaxbert.losses.forms import Arrays
from jaxbert.options.task_settings import MLMOptions
from jaxbert.predictors.lengths import Lengths, TokenizerKeywords
from jaxbert.predictors.predictor import CallSettings, Predictor, answer_in_chunks, as_list
from jaxbert.tasks.mlm import MLM

Filling = dict[str, str | int | float]
Fillings = list[Filling] | list[list[Filling]]  # for one [MASK], or for several

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class FillSettings(CallSettings):
    """The keywords of a call that can be given when the model is opened; see the call."""

    top_k: int = 5
    targets: str | Sequence[str] | None = None
    tokenizer_kwargs: TokenizerKeywords = dataclasses.field(default_factory=TokenizerKeywords)

    def __post_init__(self) -> None:
        if not isinstance(self.top_k, int) or self.top_k < 1:
            raise InputError(f"top_k is {self.top_k!r}: it must be at least 1")
        known = [field.name for field in dataclasses.fields(Lengths)]
        for name in self.tokenizer_kwargs:
            if name not in known:
                raise InputError(f"tokenizer_kwargs has {name!r}; it takes {', '.join(known)}")

    @property
    def lengths(self) -> Lengths:
        """How texts are cut."""
        return Lengths(**self.tokenizer_kwargs)


@dataclasses.dataclass(frozen=True)
class _TopTokens:
    """The top_k most likely tokens for each [MASK]: token and score (B, P, top_k)."""

    top_k: int

    def __call__(self, outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        score, token = jax.lax.top_k(jax.nn.softmax(outputs["logits"], axis=-1), self.top_k)
        return {"token": token, "score": score}


def _target_scores(outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
    """The scores of the batch's target ids (B, N) for each [MASK]: token and score (B, P, N)."""
    probabilities, targets = jax.nn.softmax(outputs["logits"], axis=-1), batch["targets"]
    token = jnp.broadcast_to(targets[:, None], (*probabilities.shape[:2], targets.shape[1]))
    return {"token": token, "score": jnp.take_along_axis(probabilities, token, axis=-1)}


class FillMask(Predictor[MLMOptions, FillSettings]):
    """The most likely tokens for each [MASK], called like transformers' fill-mask pipeline.

    >>> fill = FillMask.from_pretrained("bert-base-uncased")  # doctest: +SKIP
    >>> fill("Paris is the [MASK] of France.")[0]["token_str"]  # doctest: +SKIP
    'capital'
    """

    task = MLM
    options_cls = MLMOptions
    settings_cls = FillSettings
    retired: ClassVar[Mapping[str, str]] = {"topk": "give top_k"}

    def __call__(
        self,
        inputs: str | Sequence[str] | Iterator[str],
        *,
        top_k: int | None = None,
        targets: str | Sequence[str] | None = None,
        tokenizer_kwargs: TokenizerKeywords | None = None,
        batch_size: int | None = None,
        **unknown: object,
    ) -> Fillings | list[Fillings] | Iterator[Fillings]:
        """Fill the [MASK] tokens of one text or several.

        Args:
            inputs: a text with at least one [MASK], a list of such texts, or a generator of them,
                which is read batch_size at a time.
            top_k: the number of tokens for each [MASK], best first; 5 by default.
            targets: one or several words: only these are considered, with the scores that they have
                in the full vocabulary. A word that is not in the vocabulary is replaced by its
                first token, with a warning in the log. By default the full vocabulary.
            tokenizer_kwargs: truncation, max_length and padding, as a dict; see Lengths. By default
                a text is cut to the length that the model was trained with, and refused if that
                loses a [MASK]. If a cut is requested, one [MASK] must remain.
            batch_size: texts computed at once; by default as given when it was opened.

        Returns:
            For a text a list of {score, token, token_str, sequence}. With several [MASK] a list of
            such lists, one for each; `sequence` keeps the other [MASK]. For a list of texts a list
            of these results, but for a list of one text only its result, like the pipeline. For a
            generator an iterator.

        Raises:
            InputError: a text has no [MASK], or has one beyond the tokens that are read; there are
                no targets; top_k is out of range; or a keyword's value is wrong.
            TypeError: a keyword is unknown.
        """
        self._refuse_unknown(unknown, [*vars(self._settings), "batch_size"])
        keywords = {"top_k": top_k, "targets": targets, "tokenizer_kwargs": tokenizer_kwargs}
        settings = self._settings_of(keywords)
        if settings.top_k > self.model.cfg.vocab_size and settings.targets is None:
            raise InputError(
                f"top_k is {settings.top_k}: it must be from 1 to {self.model.cfg.vocab_size}"
            )
        target_ids = None if settings.targets is None else self._target_ids(settings.targets)
        size = self._rows(batch_size)

        def answer(first: int, texts: Sequence[str]) -> list[Fillings]:
            return self._fill(
                first, texts, settings.lengths, top_k=settings.top_k, targets=target_ids, size=size
            )

        if isinstance(inputs, Iterator):
            return answer_in_chunks(inputs, size, answer)
        single = isinstance(inputs, str)
        texts = [inputs] if isinstance(inputs, str) else as_list("inputs", inputs)
        results = answer(0, texts)
        return results[0] if single or (len(results) == 1 and isinstance(inputs, list)) else results

    def _fill(
        self,
        first: int,
        texts: Sequence[str],
        lengths: Lengths,
        *,
        top_k: int,
        targets: list[int] | None,
        size: int,
    ) -> list[Fillings]:
        """The answer for each text; messages number them from `first`."""
        if not texts:
            return []
        examples = []
        for index, text in enumerate(texts, first):
            if not isinstance(text, str):
                raise InputError(f"text {index} is not a string; give a text or a list of texts")
            examples.append(TextExample(f"text {index}", replace_surrogates(text)))
        features = self._encode(examples, lengths)
        reduce: Reduce
        if targets is not None:
            reduce = _target_scores
            rows = np.tile(np.array(targets, np.int32), (len(examples), 1))
            features = dataclasses.replace(features, rows={**features.rows, "targets": rows})
        else:
            # A power of two, cut below, so that few programs are compiled.
            computed = min(1 << max(top_k - 1, 7).bit_length(), self.model.cfg.vocab_size)
            reduce = _TopTokens(computed)
        longest = self._options.max_seq_length
        arrays = self._compute(features, reduce, longest=longest, size=size)
        tokens, scores = arrays["token"], arrays["score"]
        if targets is not None:
            order = np.argsort(-scores, axis=-1, kind="stable")
            tokens, scores = (np.take_along_axis(x, order, -1) for x in (tokens, scores))
        ids, bounds = features.tokens["input_ids"], features.bounds
        return [
            self._fillings(
                ids[bounds[index] : bounds[index + 1]],
                tokens[index, :, :top_k],
                scores[index, :, :top_k],
            )
            for index in range(len(texts))
        ]

    def _encode(self, examples: Sequence[TextExample], lengths: Lengths) -> Features:
        """Encode texts, with masked_positions (M, P) int32, 0 in unused slots.

        P is a power of two, so that few shapes are compiled.
        """
        tokenizer, positions = self.model.tokenizer, self.model.cfg.positions
        limit = lengths.limit(tokenizer, trained=self._options.max_seq_length, positions=positions)
        features = encode_texts(
            examples,
            tokenizer,
            max_length=positions if limit is None else limit,
            targets=None,
            truncation=lengths.strategy,
        )
        bounds = features.bounds
        hits = np.flatnonzero(features.tokens["input_ids"] == tokenizer.mask_token_id)
        row = np.searchsorted(bounds, hits, side="right") - 1
        counts = np.bincount(row, minlength=len(features))
        for example, count in zip(examples, counts.tolist(), strict=True):
            mask_count = example.text.count(str(tokenizer.mask_token))
            if not mask_count:
                raise InputError(f"{example.where}: it has no {tokenizer.mask_token}")
            if count < (1 if lengths.truncates else mask_count):
                raise InputError(
                    f"{example.where}: a {tokenizer.mask_token} is not within the first "
                    f"{limit or positions} tokens that the model reads; shorten the text"
                )
        masked = np.zeros((len(features), 1 << int(counts.max() - 1).bit_length()), np.int32)
        slot = np.arange(len(hits)) - np.repeat(np.cumsum(counts) - counts, counts)
        masked[row, slot] = hits - bounds[row]
        return dataclasses.replace(features, rows={"masked_positions": masked})

    def _target_ids(self, targets: str | Sequence[str]) -> list[int]:
        """The distinct tokens of the targets, in order."""
        words = [targets] if isinstance(targets, str) else as_list("targets", targets)
        vocabulary = self.model.tokenizer.get_vocab()
        ids = []
        for word in words:
            if not isinstance(word, str):
                raise InputError(f"targets has {word!r}, which is not a string")
            if word in vocabulary:
                ids.append(vocabulary[word])
                continue
            pieces = self.model.tokenizer.encode(replace_surrogates(word), add_special_tokens=False)
            if pieces:
                replacement = self.model.tokenizer.convert_ids_to_tokens(pieces[0])
                logger.warning(
                    "target %r is not in the vocabulary; using %r instead", word, replacement
                )
                ids.append(pieces[0])
            else:
                logger.warning("target %r has no tokens and is left out", word)
        if not ids:
            raise InputError("targets has no word with a token; give at least one")
        return list(dict.fromkeys(ids))

    def _fillings(self, ids: np.ndarray, tokens: np.ndarray, scores: np.ndarray) -> Fillings:
        """The answer for one text: ids (T,) with [CLS] and [SEP], tokens and scores (P, top_k)."""
        decode, pad = self.model.tokenizer.decode, self.model.tokenizer.pad_token_id
        mask_positions = np.flatnonzero(ids == self.model.tokenizer.mask_token_id)
        masks: list[list[Filling]] = []
        for position, row, probabilities in zip(mask_positions, tokens, scores, strict=False):
            fillings: list[Filling] = []
            for token, score in zip(row.tolist(), probabilities.tolist(), strict=True):
                filled = ids.copy()
                filled[position] = token
                fillings.append(
                    {
                        "score": score,
                        "token": token,
                        "token_str": str(decode([token])),
                        # Like the pipeline: if other masks are left, special tokens stay, except
                        # [PAD].
                        "sequence": str(
                            decode(
                                filled[filled != pad], skip_special_tokens=len(mask_positions) == 1
                            )
                        ),
                    }
                )
            masks.append(fillings)
        return masks[0] if len(masks) == 1 else masks
