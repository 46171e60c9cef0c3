"""Corruption by a function of a Python program, of one row at a time.

What becomes of a row depends on (seed, step, row) and the row's own values: so it is the same on
any number of devices, in any batch, with any padding, and after a resume.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxbert.data.features import Features
from jaxbert.data.sampling import NumpyBatch, make_batch
from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.options.user_function import UserFunction, error_line

_IGNORED = -100  # the label of a token that is not predicted
_TRIED = 32  # rows


@dataclasses.dataclass(frozen=True)
class UserCorruption:
    """A Corruption (see data.batch_source) by a function (row, rng) -> row.

    A row has n tokens, without padding. It is a dict of the batch's arrays, which the function may
    change: those of tokens (n, ...), those of the row (...), and special_tokens_mask (n,) bool.
    It returns input_ids of the same shape; other keys may be left out, and stay as they are.

    Attributes:
        seed: of the generator that the function gets, with the step and the row's number.
        of_tokens, of_rows: the keys of the features.
        special_ids: the tokens that special_tokens_mask names.
        vocab_size: of the model.
        predicts: the function returns labels (n,) as well: the tokens to predict, -100 elsewhere.
        of_windows: rows may have several windows (see data.rows_of_windows): their tokens are then
            one behind the other.
    """

    function: UserFunction
    seed: int
    of_tokens: tuple[str, ...]
    of_rows: tuple[str, ...]
    special_ids: tuple[int, ...]
    vocab_size: int
    predicts: bool
    of_windows: bool = False

    def __call__(self, batch: NumpyBatch, step: int) -> NumpyBatch:
        """The batch corrupted.

        Where tokens are predicted it is as mask_batch has it, with room for all of a row: without
        `word`, with masked_positions and labels (B, T) int32.

        Raises:
            InputError: the function fails, or returns something else than a row.
        """
        several = self.of_windows and batch["input_ids"].ndim == 3
        tokens = {n: batch[n] for n in self.of_tokens}
        tokens["attention_mask"] = batch["attention_mask"]
        if several:
            tokens = {n: _one_behind_another(column) for n, column in tokens.items()}
        ids = tokens["input_ids"].copy()
        positions = np.zeros(ids.shape, np.int32)
        labels = np.full(ids.shape, _IGNORED, np.int32)
        mask = tokens.pop("attention_mask")
        lengths = mask.reshape(*mask.shape[:2], -1).any(-1).sum(1).tolist()
        for b, number in enumerate(batch["row"].tolist()):
            if number < 0:  # padding
                continue
            length = lengths[b]
            row = {n: column[b, :length] for n, column in tokens.items()}
            row |= {n: np.asarray(batch[n][b]) for n in self.of_rows}
            found = self._call(row, np.random.default_rng([self.seed, step, number]))
            ids[b, :length] = self._tokens("input_ids", found.get("input_ids"), row["input_ids"])
            if self.predicts:
                wanted = self._tokens("labels", found.get("labels"), row["input_ids"])
                chosen = np.flatnonzero(wanted != _IGNORED)
                positions[b, : len(chosen)], labels[b, : len(chosen)] = chosen, wanted[chosen]
        if not self.predicts:
            if several:
                count, length, windows = batch["input_ids"].shape
                ids = ids.reshape(count, windows, length).swapaxes(1, 2)
            return batch | {"input_ids": ids}
        masked = {name: column for name, column in batch.items() if name != "word"}
        return masked | {"input_ids": ids, "masked_positions": positions, "labels": labels}

    def _call(self, row: NumpyBatch, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        """What the function returns for a row, its keys checked."""
        given = {name: values.copy() for name, values in row.items()}
        given["special_tokens_mask"] = np.isin(row["input_ids"], self.special_ids)
        try:
            found = self.function.function(given, rng)
        except InputError:
            raise
        except Exception as error:
            raise self._error(error_line(error, self.function.path)) from None
        if not isinstance(found, Mapping):
            raise self._error(f"it returned {type(found).__name__}, not a dict of the row's arrays")
        changes = {"input_ids", "labels"} if self.predicts else {"input_ids"}
        for name, values in found.items():
            if name in changes or name == "special_tokens_mask":
                continue
            if name not in row:
                raise self._error(
                    f"it returned {shown(repr(name))}, which a row does not have: {', '.join(row)}"
                )
            if not np.array_equal(values, row[name]):
                raise self._error(f"it changed {name}; it can change {', '.join(sorted(changes))}")
        if self.predicts and "labels" not in found:
            raise self._error(
                "it returned no labels: the tokens to predict, and -100 at all others"
            )
        return found

    def _tokens(self, name: str, found: np.ndarray | None, before: np.ndarray) -> np.ndarray:
        """Tokens that the function returned, or those of before."""
        if found is None:
            return before
        try:
            tokens = np.asarray(found)
        except ValueError:  # lists of several lengths
            raise self._error(f"its {name} are no array") from None
        if tokens.shape != before.shape or tokens.dtype.kind not in "iu":
            raise self._error(
                f"its {name} are {tokens.dtype} {tokens.shape}, not integers {before.shape}: a row "
                "keeps its number of tokens"
            )
        ignored = tokens == _IGNORED if name == "labels" else np.zeros(tokens.shape, bool)
        wrong = tokens[~ignored & ((tokens < 0) | (tokens >= self.vocab_size))]
        if wrong.size:
            raise self._error(
                f"its {name} have {wrong.flat[0]}, and the model has {self.vocab_size} tokens"
            )
        return tokens

    def _error(self, what: str) -> InputError:
        return InputError(f"corruption {self.function.name}: {what}")


def check_corruption(corruption: UserCorruption, features: Features) -> None:
    """Try the function twice on a few rows, before files are written.

    Raises:
        InputError: it fails, returns something else than a row, or another row at the second time;
            or no token is to be predicted where some should be.
    """
    windows = np.linspace(0, len(features) - 1, min(_TRIED, len(features))).astype(int)
    length = int(features.lengths[windows].max())
    if features.window is not None and length > features.window:  # whole windows
        length = -(-length // features.window) * features.window
    batch = make_batch(features, windows, length, len(windows))
    first, second = corruption(batch, 0), corruption(batch, 0)
    name = corruption.function.name
    if any(not np.array_equal(first[column], second[column]) for column in first):
        raise InputError(
            f"corruption {name}: two calls with one row differ; draw from rng alone, and keep "
            "nothing between calls"
        )
    if corruption.predicts and (first["labels"] == _IGNORED).all():
        raise InputError(f"corruption {name}: no token of {len(windows)} rows is to be predicted")


def _one_behind_another(column: np.ndarray) -> np.ndarray:
    """(B, T, K, ...), the tokens of K windows, as (B, K * T, ...)."""
    count, length, windows, *rest = column.shape
    return column.swapaxes(1, 2).reshape(count, windows * length, *rest)
