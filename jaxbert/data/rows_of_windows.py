"""Rows of several windows: those of a text side by side, for a step to weigh them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from jaxbert.data.features import Features
from jaxbert.data.sampling import bucket_lengths


def rows_of_windows(features: Features, window: int, most: int) -> Features:
    """The windows of each text as one row, or as a few of about as many windows each.

    Nothing is copied but what rows have: the tokens of a text's windows lie one behind the other
    already. In a batch these rows are (B, T, K); see make_batch.

    Args:
        features: of texts, in their order, each with its own windows, all of which but the last
            have `window` tokens; all can be learned from.
        window: tokens.
        most: windows of a row.

    Returns:
        Features whose rows weigh what their windows did together, so that a text still counts once.
    """
    assert features.learnable is None
    windows = np.bincount(features.example)
    rows = -(-windows // most)
    # The first window of each row, counted from that of its text: as evenly as can be.
    place = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
    within = place * np.repeat(windows, rows) // np.repeat(rows, rows)
    firsts = within + np.repeat(np.cumsum(windows) - windows, rows)
    columns = {name: column[firsts] for name, column in features.rows.items()}
    ends = np.append(firsts, len(features))
    columns["weight"] = columns["weight"] * np.diff(ends).astype(np.float32)
    made = dataclasses.replace(
        features,
        bounds=features.bounds[ends],
        rows=columns,
        example=features.example[firsts],
        window=window,
    )
    # That of the windows may be known, of all tokens.
    known = f"{features.fingerprint()} {window} {most}"
    return made.known_as(hashlib.sha256(known.encode()).hexdigest())


def row_lengths(multiple: int, window: int, most: int) -> tuple[int, ...]:
    """The lengths that rows of up to `most` windows are padded to: those of one, then whole ones.

    >>> row_lengths(64, 128, 3)
    (64, 128, 256, 384)
    """
    whole = (window * count for count in range(2, most + 1))
    return (*bucket_lengths(multiple, window), *whole)


def window_lengths(features: Features, lengths: Sequence[int]) -> Sequence[int]:
    """Of the lengths that rows are padded to, those of a window, which the encoder reads."""
    most = features.window
    return lengths if most is None else [length for length in lengths if length <= most]
