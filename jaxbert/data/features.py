"""Features: encoded windows of tokens as flat arrays.

M windows of T tokens each. The tokens of all windows are concatenated without padding.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import mmap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxbert.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

# Padding values of token columns in a batch, if not 0: losses ignore labels of -100, and 0 is a
# class.
PADDING = {"labels": -100}
_HASHED = 1 << 23  # entries that are hashed at once


class Line(NamedTuple):
    """A line of the log about features, whose numbers are sums over the examples.

    Lines of parts of the data are then lines of them all, once the sums are added.

    Attributes:
        text: a format string with the names of sums; {mean}, see there; {are} and {have}, which
            agree with `shown_for` in number.
        shown_for: the sum that must be above 0 for the line to be shown; "" shows it always.
        mean: two sums, of which {mean} is the quotient.
        left_out: whether it says which windows training leaves out and why.
    """

    text: str
    shown_for: str = ""
    mean: tuple[str, str] | None = None
    left_out: bool = False

    def shown(self, sums: Mapping[str, int]) -> str | None:
        """The line with its numbers; None where it is not to be shown."""
        if self.shown_for and not sums[self.shown_for]:
            return None
        one = bool(self.shown_for) and sums[self.shown_for] == 1
        total, count = self.mean or (None, None)
        mean = sums[total] / max(1, sums[count]) if total and count else 0.0
        words = {"are": "is" if one else "are", "have": "has" if one else "have"}
        return self.text.format(**sums, **words, mean=mean)


def as_text(text: str) -> str:
    """A text that is shown as it is in the text of a Line."""
    return text.replace("{", "{{").replace("}", "}}")


@dataclasses.dataclass(frozen=True)
class Features:
    """Encoded windows.

    Attributes:
        bounds: (M + 1,) int64; window m has the tokens bounds[m] to bounds[m + 1].
        tokens: columns with one entry per token, (total, ...); padded in a batch, see PADDING.
        rows: columns with one entry per window, (M, ...).
        example: (M,) int32, the index of each window's example.
        host: columns with one entry per token, (total, ...), that stay on the host.
        learnable: (M,) bool, False at windows from which nothing can be learned, which have weight
            0; None if all windows are learnable.
        lines: about the encoding, for the log.
        sums: the numbers in these.
        window: where a row is several windows, the tokens of each but the last; longer rows are
            (B, T, K) in a batch. See data.rows_of_windows.
        maps: of the files that the columns are views of, where they lie on the disk.
    """

    bounds: np.ndarray
    tokens: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    example: np.ndarray
    host: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    learnable: np.ndarray | None = None
    lines: tuple[Line, ...] = ()
    sums: Mapping[str, int] = dataclasses.field(default_factory=dict)
    window: int | None = None
    maps: tuple[mmap.mmap, ...] = ()

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines about the encoding, for the log."""
        return self._shown(left_out=False)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Lines that say which windows training leaves out and why, for the log."""
        return self._shown(left_out=True)

    def _shown(self, *, left_out: bool) -> tuple[str, ...]:
        shown = [line.shown(self.sums) for line in self.lines if line.left_out == left_out]
        return tuple(line for line in shown if line is not None)

    def forget(self) -> None:
        """Give back the memory of what has been read of the files; they stay open."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            for each in self.maps:
                each.madvise(mmap.MADV_DONTNEED)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """(M,) int64, tokens of each window."""
        return np.diff(self.bounds)

    def part(self, first: int, last: int, example: int) -> Features:
        """The windows from first up to last, as views; their examples are counted from `example`.

        It has no lines for the log.
        """
        start, end = self.bounds[first], self.bounds[last]
        learnable = None if self.learnable is None else self.learnable[first:last]
        return Features(
            bounds=self.bounds[first : last + 1] - start,
            tokens={name: column[start:end] for name, column in self.tokens.items()},
            rows={name: column[first:last] for name, column in self.rows.items()},
            example=self.example[first:last] - np.int32(example),
            host={name: column[start:end] for name, column in self.host.items()},
            learnable=learnable,
            window=self.window,
        )

    def to_learn(self) -> Features:
        """Only the windows from which something can be learned."""
        if self.learnable is None:
            return self
        kept = np.flatnonzero(self.learnable)
        lengths = self.lengths[kept]
        tokens = ranges(self.bounds[kept], lengths)
        return dataclasses.replace(
            self,
            bounds=np.concatenate([[0], np.cumsum(lengths)]),
            tokens={name: column[tokens] for name, column in self.tokens.items()},
            rows={name: column[kept] for name, column in self.rows.items()},
            example=self.example[kept],
            host={name: column[tokens] for name, column in self.host.items()},
            learnable=None,
        )

    def known_as(self, fingerprint: str) -> Features:
        """The same, whose fingerprint is known already."""
        known = dataclasses.replace(self)
        vars(known)["_fingerprint"] = fingerprint
        return known

    def fingerprint(self) -> str:
        """SHA-256 of everything training sees; equal fingerprints give equal batches."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(self.bounds).data)
        for columns in (self.tokens, self.rows):
            for name in sorted(columns):
                digest.update(name.encode())
                column = np.ascontiguousarray(columns[name]).reshape(-1)
                for start in range(0, len(column), _HASHED):
                    digest.update(column[start : start + _HASHED].data)
                    self.forget()
        return digest.hexdigest()


def with_view(features: Features, view: Features) -> Features:
    """Windows with two texts each, view_input_ids and so on beside the others.

    A window is as long as the longer one of its texts; the other one is padded with 0. Both have
    masks of their own.

    Args:
        view: as many windows, of the other texts.
    """
    lengths = np.maximum(features.lengths, view.lengths)
    bounds = np.concatenate([[0], np.cumsum(lengths)])

    def moved(part: Features, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        place = ranges(bounds[:-1], part.lengths)
        found = {}
        for name, column in columns.items():
            found[name] = np.full(
                (bounds[-1], *column.shape[1:]), PADDING.get(name, 0), column.dtype
            )
            found[name][place] = column
        return found

    def of_text(part: Features, prefix: str) -> dict[str, np.ndarray]:
        mask = {"attention_mask": np.ones(part.bounds[-1], np.int32)}
        names = ("input_ids", "token_type_ids")
        columns = mask | {name: part.tokens[name] for name in names}
        return {prefix + n: x for n, x in moved(part, columns).items()}

    return dataclasses.replace(
        features,
        bounds=bounds,
        tokens={
            **moved(features, features.tokens),
            **of_text(features, ""),
            **of_text(view, "view_"),
        },
        host=moved(features, features.host),
    )


def check_ids(features: Features, *, vocab_size: int, positions: int, types: int) -> None:
    """Check every index against the size of its table: JAX silently clamps an index out of range.

    Args:
        types: 0 of a model without token types, which reads none.

    Raises:
        InputError: a token, position or token type is outside the model's tables.
    """
    limits = {"input_ids": vocab_size, **({"token_type_ids": types} if types else {})}
    for name, size in limits.items():
        column = features.tokens[name]
        if column.size and not 0 <= int(column.min()) <= int(column.max()) < size:
            raise InputError(
                f"{name} range from {column.min()} to {column.max()}, but the model has {size}; "
                "does the tokenizer belong to the model?"
            )
    longest = int(features.lengths.max(initial=0))
    if longest > positions:
        raise InputError(
            f"windows have up to {longest} tokens, but the model has {positions} positions; "
            f"give --max_seq_length {positions} or less"
        )


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenated ranges of integers.

    Args:
        starts: (N,) int, the first integer of each range.
        lengths: (N,) int, the number of integers in each.

    Returns:
        (lengths.sum(),) int64.

    >>> ranges(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist()
    [5, 6, 7, 8, 9]
    """
    before = np.cumsum(lengths) - lengths
    found: np.ndarray = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    return found


def window_starts(length: int, room: int, step: int) -> np.ndarray:
    """(W,) int64, the first of a text's tokens in each of its windows, up to the window that
    reaches the end of the text.

    Args:
        length: of the text.
        room: tokens of it that a window has.
        step: from one window to the next.

    >>> window_starts(10, 4, 3).tolist(), window_starts(4, 4, 3).tolist()
    ([0, 3, 6], [0])
    """
    count = 1 if length <= room else 1 + -(-(length - room) // step)
    return np.arange(count) * step


@dataclasses.dataclass(frozen=True)
class Tokenized:
    """A text's token ids (T,) and their characters: starts and ends (T,), ascending."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> dict[str, Tokenized]:
    """Tokenize each distinct text once, however many questions a paragraph has."""
    unique = list(dict.fromkeys(texts))
    backend = tokenizer.backend_tokenizer
    # Truncation and padding may be set in tokenizer.json or by an earlier call.
    backend.no_truncation()
    backend.no_padding()
    encodings = backend.encode_batch(unique, add_special_tokens=False)
    has_spaces = _has_spaces(backend)
    tokenized = {}
    for text, encoding in zip(unique, encodings, strict=True):
        offsets = np.asarray(encoding.offsets, np.int32).reshape(-1, 2)
        ids = np.asarray(encoding.ids, np.int32)
        starts, ends = offsets[:, 0], offsets[:, 1]
        if has_spaces:
            starts, ends = _behind_spaces(text, starts, ends)
        tokenized[text] = Tokenized(ids, starts, ends)
    return tokenized


def _has_spaces(backend: Tokenizer) -> bool:
    """Whether the tokens of a text count its spaces, as those of bytes and of SentencePiece do."""
    one, two = (backend.encode(text, add_special_tokens=False) for text in ("a a", "a  a"))
    return one.ids != two.ids or any(start == 1 for start, _ in one.offsets)


def _behind_spaces(
    text: str, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The starts and ends of tokens without the spaces that they begin with; a token of spaces
    alone is an empty one before what follows.

    >>> _behind_spaces("a  b", np.array([0, 1, 2]), np.array([1, 2, 4]))
    (array([0, 3, 3]), array([1, 3, 4]))
    """
    solid = [len(text) if c.isspace() else at for at, c in enumerate(text)]
    following = np.minimum.accumulate([len(text), *reversed(solid)])[::-1].astype(starts.dtype)
    return following[starts], np.maximum(ends, following[starts])
