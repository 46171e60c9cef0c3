"""Hostile weights: safetensors, msgpack and pickles that are refused before they are believed."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from hostile import (
    BIAS,
    PICKLES,
    WORDS,
    Cases,
    content,
    filled,
    header,
    only,
    pickled,
    sparse,
)

HEADER = "model.safetensors: not a complete safetensors file"
MSGPACK = "flax_model.msgpack: not a complete Flax msgpack file"


def pickle_with_a_program(folder: Path) -> None:
    for name in PICKLES:
        (folder / name).unlink()
    (folder / "x', weights_only=False)#.bin").write_bytes(pickled(folder))


def bomb(size: int, lists: int) -> bytes:
    """Lists in lists, each of which announces `size` items: msgpack makes room for all of them."""
    return (b"\xdd" + struct.pack(">I", size)) * lists + b"\xc0" * size


def array(content: Any) -> msgpack.ExtType:
    """What Flax writes for an array."""
    return msgpack.ExtType(1, msgpack.packb(content))


CASES: Cases = {
    # safetensors
    "header of 100 MB announced": (
        partial(content, "model.safetensors", struct.pack("<Q", 100 << 20) + b"{}"),
        f"{HEADER} \\(its header has 104857600 bytes",
    ),
    "header of 99 MB": (
        partial(
            sparse, "model.safetensors", 99_000_008, start=struct.pack("<Q", 99_000_000) + b"{"
        ),
        f"{HEADER} \\(its header has 99000000 bytes",
    ),
    "header beyond all files": (partial(content, "model.safetensors", b"\xff" * 64), HEADER),
    "header beyond the file": (
        partial(content, "model.safetensors", b"\xff\xff" + b"\0" * 64),
        HEADER,
    ),
    "offsets that overlap": (
        partial(header, lambda h: h[BIAS].update(data_offsets=[4, 12])),
        HEADER,
    ),
    "offsets beyond the file": (
        partial(header, lambda h: h[BIAS].update(data_offsets=[10**12, 10**12 + 8])),
        HEADER,
    ),
    "offsets backwards": (partial(header, lambda h: h[BIAS].update(data_offsets=[8, 0])), HEADER),
    "offsets below nothing": (
        partial(header, lambda h: h[BIAS].update(data_offsets=[-8, 0])),
        HEADER,
    ),
    "hole in the data": (partial(header, lambda h: h.pop(BIAS) and None), HEADER),
    "shape that is not that of the data": (
        partial(header, lambda h: h[BIAS].update(shape=[2000])),
        HEADER,
    ),
    "shape whose size overflows": (
        partial(header, lambda h: h[BIAS].update(shape=[2**62, 2**62, 16])),
        HEADER,
    ),
    "shape of a hundred thousand axes": (
        partial(header, lambda h: h[BIAS].update(shape=[2] + [1] * 10**5)),
        r"qa_outputs.bias  has shape \(2, 1, 1, .{99,}\.\.\., config.json says \(2,\)",
    ),
    "dtype of objects": (partial(header, lambda h: h[BIAS].update(dtype="OBJECT")), HEADER),
    "dtype of integers": (
        partial(header, lambda h: h[BIAS].update(dtype="I32")),
        f"{BIAS} has dtype int32, not floats",
    ),
    "dtype of half the size": (partial(header, lambda h: h[BIAS].update(dtype="F16")), HEADER),
    "header is a list": (partial(header, lambda h: b"[]"), HEADER),
    "header nested deeply": (partial(header, lambda h: b"[" * 10**6), HEADER),
    "names with control characters": (
        partial(header, lambda h: h.update({"\x1b[2J\nx": h.pop(BIAS)})),
        r"\+ \\x1b\[2J\\nx  unexpected",
    ),
    "thousands of tensors of no size": (
        partial(
            header,
            lambda h: h.update(
                {
                    f"x{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                    for n in range(20_000)
                }
            ),
        ),
        r"\.\.\. and 19900 more$",
    ),
    # values
    "NaN": (partial(filled, WORDS, np.nan), f"{WORDS} has a NaN or infinity"),
    "infinity": (partial(filled, BIAS, np.inf), f"{BIAS} has a NaN or infinity"),
    "minus infinity": (
        partial(filled, WORDS, -np.inf, dtype=np.float16),
        f"{WORDS} has a NaN or infinity",
    ),
    "too large for 32 bits": (
        partial(filled, BIAS, 1e300, dtype=np.float64),
        f"{BIAS} has a NaN or infinity",
    ),
    # msgpack
    "msgpack bomb": (
        partial(only, partial(content, "flax_model.msgpack", bomb(1 << 20, 100))),
        MSGPACK,
    ),
    "msgpack bomb in an array": (
        partial(
            only,
            partial(
                content, "flax_model.msgpack", msgpack.packb(msgpack.ExtType(1, bomb(1 << 20, 100)))
            ),
        ),
        MSGPACK,
    ),
    "msgpack array of objects": (
        partial(
            only,
            partial(
                content,
                "flax_model.msgpack",
                lambda folder: msgpack.packb({"a": array([[1], "O", pickled(folder)])}),
            ),
        ),
        MSGPACK,
    ),
    "msgpack of another extension": (
        partial(
            only,
            partial(
                content,
                "flax_model.msgpack",
                lambda folder: msgpack.packb({"a": msgpack.ExtType(42, pickled(folder))}),
            ),
        ),
        f"{MSGPACK} \\(a leaf is not an array",
    ),
    "msgpack of 100 GB": (
        partial(only, partial(sparse, "flax_model.msgpack", 100 << 30)),
        "flax_model.msgpack: it has 107374182400 bytes",
    ),
    "pickle whose name is a program": (
        partial(only, pickle_with_a_program),
        r"#\.bin: a pickle can run code .* convert it where PyTorch is installed$",
    ),
    # pickles under other names
    "pickle named model.safetensors": (
        partial(content, "model.safetensors", pickled),
        "model.safetensors",
    ),
    "pickle named flax_model.msgpack": (
        partial(only, partial(content, "flax_model.msgpack", pickled)),
        MSGPACK,
    ),
}
