"""What a compiled program reads from and writes to the device's main memory.

Every instruction reads its operands and writes its result; a fusion does so once for all that is in
it. Bodies of loops count as often as they run. Of an array from which only a slice or some rows are
taken, these count, and of one in which a slice is replaced in place, the slice.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jaxbert.compiling.hlo import Computation, Instruction, Program, Shape
from jaxbert.errors import InputError

# They move nothing: names, views, and the ends of what was begun before.
_FREE = {
    "parameter",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "constant",
    "after-all",
    "partition-id",
    "replica-id",
    "opt-barrier",
    "add-dependency",
}
_TAKES_PART = {"slice", "dynamic-slice", "gather"}
_CALLS = {"call", "async-start"}
_VIEWS = {"bitcast", "reshape", "get-tuple-element"}


class Moved(NamedTuple):
    """What an instruction moves in all its runs.

    Attributes:
        size: bytes.
        times: its runs.
        part: of the model, as "layer/attention forward".
        operands: all arrays that it is given.
    """

    size: float
    times: int
    instruction: Instruction
    part: str
    operands: tuple[Shape, ...]


def moved_by(program: Program) -> list[Moved]:
    """All that moves something, in the order of the program.

    Raises:
        InputError: nothing says how often a loop runs.
    """
    return list(_of(program, program.computations[program.entry], 1))


_EXCHANGES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)


def exchanged(rows: Iterable[Moved]) -> float:
    """Bytes of all that the devices give each other: gradients, and a few sums.

    Args:
        rows: see moved_by. What begins an exchange gives its operands too, so operands alone count.
    """
    return sum(
        row.times * _sizes(row.operands)
        for row in rows
        if row.instruction.opcode.removesuffix("-start") in _EXCHANGES
    )


def _of(program: Program, computation: Computation, times: int) -> Iterator[Moved]:
    for instruction in computation.instructions.values():
        opcode = instruction.opcode
        called = instruction.called
        if opcode in _FREE or opcode.endswith(("-done", "-update")):
            continue
        if opcode == "while":
            trips = times * _trips(program, instruction)
            for name in (*called.get("body", ()), *called.get("condition", ())):
                yield from _of(program, program.computations[name], trips)
        elif opcode == "conditional":  # the branch that moves most
            branches = [
                list(_of(program, program.computations[name], times))
                for names in called.values()
                for name in names
            ]
            yield from max(branches, key=lambda rows: sum(row.size for row in rows), default=[])
        elif opcode in _CALLS and called:
            for names in called.values():
                for name in names:
                    yield from _of(program, program.computations[name], times)
        else:
            size = _size(program, computation, instruction)
            if size:
                part = part_of(instruction.op_name) or f"({opcode})"
                given = (computation.instructions[name].shapes for name in instruction.operands)
                operands = tuple(itertools.chain.from_iterable(given))
                yield Moved(size * times, times, instruction, part, operands)


def _trips(program: Program, loop: Instruction) -> int:
    """How often a loop runs: as the compiler says, or else by its condition, `i < n`: JAX's loops
    count from 0.

    Raises:
        InputError: neither tells.
    """
    if loop.trips is not None:
        return loop.trips
    condition = program.computations[loop.called["condition"][0]]
    root = condition.instructions[condition.root]
    if root.opcode == "compare" and "direction=LT" in root.attributes:
        bound = condition.instructions[root.operands[1]]
        if bound.opcode == "constant" and bound.literal.isdecimal():
            return int(bound.literal)
    raise InputError(f"{loop.name}: nothing says how often the loop runs, so nothing is counted")


def _size(program: Program, computation: Computation, instruction: Instruction) -> float:
    """Bytes that one run of an instruction moves."""
    opcode = instruction.opcode
    results = instruction.shapes
    operands = [computation.instructions[name].shapes for name in instruction.operands]
    if opcode == "fusion":
        [name] = instruction.called["calls"]
        return _fusion(program.computations[name], results, operands)
    if opcode == "copy-start":  # its destination, its source, and a mark
        return results[0].traffic + results[1].traffic
    if opcode in ("slice-start", "dynamic-slice-start"):  # its source, its destination, and a mark
        source, destination = results[0], results[1]
        return destination.traffic + (0.0 if source.is_near else destination.size)
    if opcode in _TAKES_PART:
        source = operands[0][0]
        indices = sum(shape.traffic for shapes in operands[1:] for shape in shapes)
        return _sum(results) + (0.0 if source.is_near else _sizes(results)) + indices
    if opcode == "dynamic-update-slice":
        return 2 * _sum(operands[1])
    if opcode == "scatter":  # in place: the rows that are added to are read and written
        updates = operands[len(operands) // 2 + 1 :]
        near = results[0].is_near
        rows = sum(_sizes(shapes) for shapes in updates)
        return sum(map(_sum, operands[len(operands) // 2 :])) + (0.0 if near else 2 * rows)
    if opcode == "custom-call":
        if instruction.target in ("AllocateBuffer", "Sharding", "SPMDFullToShardShape"):
            return 0.0
        if instruction.target.startswith("__cublas"):  # its last result is room to work in
            results = results[:-1] or results
    return _sum(results) + sum(map(_sum, operands))


def _fusion(
    inside: Computation, results: tuple[Shape, ...], operands: list[tuple[Shape, ...]]
) -> float:
    """Bytes of a fusion: its operands and results, of some a part."""
    read = 0.0
    for instruction in inside.instructions.values():
        if instruction.opcode == "parameter":
            read += _read(inside, instruction.name, operands[int(instruction.literal)])
    root = inside.instructions[inside.root]
    ends = root.operands if root.opcode == "tuple" else (inside.root,)
    written = 0.0
    for name, shape in zip(ends, results, strict=False):
        end = inside.instructions[_source(inside, name)]
        replacing = _replacing(inside, end)
        written += 0.0 if shape.is_near else shape.size if replacing is None else replacing
    return read + written


def _read(inside: Computation, name: str, shapes: tuple[Shape, ...]) -> float:
    """Bytes that a fusion reads of one of its operands."""
    whole = _sum(shapes)
    part = 0.0
    for user in inside.instructions.values():
        if name not in user.operands:
            continue
        if user.opcode in _TAKES_PART and user.operands.index(name) == 0:
            part += _sizes(user.shapes)
        elif user.opcode == "dynamic-update-slice" and user.operands.index(name) == 0:
            continue  # replaced in place
        elif user.opcode == "scatter" and user.operands.index(name) == 0:
            part += _replacing(inside, user) or 0.0
        elif user.opcode in _VIEWS:
            part += _read(inside, user.name, shapes)
        else:
            return whole
    return min(part, whole)


def _replacing(inside: Computation, end: Instruction) -> float | None:
    """Bytes that are written where a part of an array is replaced in place; else None."""
    if end.opcode not in ("dynamic-update-slice", "scatter"):
        return None
    updates = end.operands[1] if end.opcode == "dynamic-update-slice" else end.operands[-1]
    return _sizes(inside.instructions[updates].shapes)


def _source(inside: Computation, name: str) -> str:
    """The instruction whose result a view shows."""
    instruction = inside.instructions[name]
    while instruction.opcode in _VIEWS and instruction.operands:
        instruction = inside.instructions[instruction.operands[0]]
    return instruction.name


def _sum(shapes: tuple[Shape, ...]) -> float:
    return sum(shape.traffic for shape in shapes)


def _sizes(shapes: tuple[Shape, ...]) -> float:
    return sum(shape.size for shape in shapes)


def part_of(op_name: str) -> str:
    """The part of the step that an instruction is of; "" where the compiler added it.

    >>> part_of("jit(train_step)/transpose(jvp(BertWithHead))/bert/layer_3/mlp/mlp_in/dot_general")
    'layer/mlp/mlp_in backward'
    >>> part_of("jit(train_step)/jvp(BertWithHead)/bert/embeddings/word_embeddings/gather")
    'embeddings/word_embeddings forward'
    >>> part_of("jit(train_step)/jvp(BertWithHead)/bert/bert._scanned/while/body/Layer/mlp_in/add")
    'layer/mlp_in forward'
    >>> part_of("jit(train_step)/shard_map/jit(_where)/select_n"), part_of("jit(f)/jvp(A)/bert/add")
    ('optimizer', 'model forward')
    """
    way = "backward" if "transpose(" in op_name else "forward"
    if found := re.search(r"(?:layer_\d+|Layer)/(.+)", op_name):
        return f"layer/{'/'.join(found[1].split('/')[:-1][:2]) or found[1]} {way}"
    if found := re.search(r"bert/(embeddings.*)", op_name):
        return f"{'/'.join(found[1].split('/')[:-1][:2])} {way}"
    if not op_name:
        return ""
    return f"model {way}" if "jvp(" in op_name else "optimizer"
