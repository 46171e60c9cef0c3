"""Sums of a compiled program whose order is open, so that their bits differ from run to run."""

from __future__ import annotations

from jaxbert.compiling.hlo import Instruction, Program
from jaxbert.compiling.traffic import part_of


def unordered(program: Program) -> list[str]:
    """The parts of the model that have such sums on a GPU, each once: [] where equal bits hold.

    There XLA adds the rows of a scatter by atomics, unless each row goes to a place that no other
    does. Its other sums are trees; cuBLAS adds in an order that depends on the shapes alone; the
    kernels of this package have no atomics (a test reads their code).
    """
    found = {
        part_of(instruction.op_name) or instruction.name
        for computation in program.computations.values()
        for instruction in computation.instructions.values()
        if _adds_in_any_order(program, instruction)
    }
    return sorted(found)


def _adds_in_any_order(program: Program, instruction: Instruction) -> bool:
    if instruction.opcode == "select-and-scatter":
        return True
    if instruction.opcode != "scatter" or "unique_indices=true" in instruction.attributes:
        return False
    [combined] = instruction.called["to_apply"]
    # A sum has a root that computes; what only takes the new row has a parameter.
    combiner = program.computations[combined]
    return combiner.instructions[combiner.root].opcode != "parameter"
