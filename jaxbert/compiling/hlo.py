"""The text of a compiled program (HLO) as instructions."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import NamedTuple

from jaxbert.errors import InputError

_BITS = {"pred": 8, "token": 0, "opaque": 0, "c64": 64, "c128": 128}
_SHAPE = re.compile(r"\b([a-z]+\d*\w*)\[([\d,<=]*)\](\{[^}]*\})?")
_INSTRUCTION = re.compile(r"\s*(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_HEADER = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(
    r"(calls|body|condition|to_apply|(?:branch|true|false)_computations?)=(\{[^}]*\}|%?[\w.\-]+)"
)
_NAME = re.compile(r"%([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


class Shape(NamedTuple):
    """An array.

    Attributes:
        is_near: it lies in a TPU's own memory beside its units, not in the device's main memory.
    """

    dtype: str
    dims: tuple[int, ...]
    is_near: bool

    @property
    def size(self) -> float:
        """Bytes."""
        digits = re.search(r"\d+", self.dtype)
        bits = _BITS.get(self.dtype, int(digits[0]) if digits else 0)
        return math.prod(self.dims) * bits / 8

    @property
    def traffic(self) -> float:
        """Bytes that reading or writing it moves through the device's main memory."""
        return 0.0 if self.is_near else self.size


class Instruction(NamedTuple):
    """An instruction.

    Attributes:
        shapes: what it gives, flat where it is a tuple.
        operands: names of instructions of the same computation.
        called: "calls", "body", ... -> names of computations.
        trips: how often a loop runs; None where the compiler does not say, or it is none.
        target: of a custom call.
        literal: what stands in its brackets: the number of a parameter, or a constant.
        op_name: where it is from in the traced function: "jit(train_step)/jvp(...)/bert/...".
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    called: dict[str, tuple[str, ...]]
    trips: int | None
    target: str
    literal: str
    op_name: str
    attributes: str


@dataclasses.dataclass
class Computation:
    """Instructions in their order, by name.

    Attributes:
        root: the name of the one that is its result.
    """

    name: str
    instructions: dict[str, Instruction] = dataclasses.field(default_factory=dict)
    root: str = ""


class Program(NamedTuple):
    """A compiled program.

    Attributes:
        entry: the name of the computation that it begins with.
    """

    computations: dict[str, Computation]
    entry: str


def parse(text: str) -> Program:
    """Read `compiled.as_text()`.

    Raises:
        InputError: it is not the text of a program.
    """
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if current is None:
            header = _HEADER.match(line)
            if header is None:
                continue
            current = computations[header[2]] = Computation(header[2])
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            current = None
        elif match := _INSTRUCTION.match(line):
            instruction = _instruction(match[2], match[3], match[4], match[5])
            current.instructions[match[2]] = instruction
            current.root = match[2] if match[1] else current.root
    if not entry:
        raise InputError("the compiler gave no text of the program, so nothing can be counted")
    return Program(computations, entry)


def _instruction(name: str, result: str, opcode: str, rest: str) -> Instruction:
    inside, attributes = _split(rest)
    called = {
        key: tuple(_NAME.findall(value)) or (value,) for key, value in _CALLED.findall(attributes)
    }
    trips = _TRIPS.search(attributes)
    target = re.search(r'custom_call_target="([^"]*)"', attributes)
    op_name = re.search(r'op_name="([^"]*)"', attributes)
    return Instruction(
        name,
        opcode,
        shapes_of(result),
        tuple(_NAME.findall(inside)),
        called,
        int(trips[1]) if trips else None,
        target[1] if target else "",
        inside,
        op_name[1] if op_name else "",
        attributes,
    )


def shapes_of(text: str) -> tuple[Shape, ...]:
    """The arrays of a type: "(f32[8,4]{1,0}, s32[])".

    >>> [shape.size for shape in shapes_of("(f32[8,4]{1,0:T(8,128)S(1)}, s32[], bf16[2])")]
    [128.0, 4.0, 4.0]
    """
    return tuple(
        Shape(
            dtype,
            tuple(int(re.sub(r"\D", "", d)) for d in dims.split(",") if d),
            "S(1)" in layout,
        )
        for dtype, dims, layout in _SHAPE.findall(text)
    )


def _split(rest: str) -> tuple[str, str]:
    """Operands and attributes: what is before and behind the closing bracket."""
    depth = 1
    for place, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return rest[:place], rest[place + 1 :]
    return rest, ""
