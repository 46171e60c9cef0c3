"""What a compiled training step takes of a device: memory, traffic, operations, and so time."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxbert.compiling.cost import Cost
from jaxbert.compiling.described_devices import DeviceKind
from jaxbert.compiling.hlo import parse
from jaxbert.compiling.traffic import exchanged, moved_by
from jaxbert.compiling.unordered import unordered
from jaxbert.errors import InputError

_GIB = 2**30
_ATTAINED = 0.8  # of the peak of products, which large ones reach
# "Used 20.74G of 15.75G hbm", "required for HLO temporaries (200.74G) exceeds available HBM"
_NEEDS = re.compile(r"(?:Used |required [\w ]+ \()([\d.]+)([KMGT]?)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Report(NamedTuple):
    """Of one device.

    Attributes:
        args_gib: parameters, optimizer state and batch.
        temp_gib: what is needed beside them while the step runs.
        traffic_gib: read from and written to its memory in a step.
        flops: of products in a step.
        memory_seconds, product_seconds: the step's time by each alone, products at 80 % of peak.
        fits: whether the memory suffices.
        parts: GiB of traffic by part of the model, the largest first.
        unordered: parts with sums whose order is left open; see `unordered`. None where the
            device leaves none open.
        exchanged_gib: what a device gives to the others in a step.
        program_mib: the program's code.
        compile_seconds: which it took on this machine.
    """

    args_gib: float
    temp_gib: float
    traffic_gib: float
    flops: float
    memory_seconds: float
    product_seconds: float
    fits: bool
    parts: dict[str, float]
    unordered: list[str] | None
    exchanged_gib: float
    program_mib: float
    compile_seconds: float

    @property
    def estimate_seconds(self) -> float:
        """A step, as if nothing overlapped."""
        return self.memory_seconds + self.product_seconds


class DoesNotFit(NamedTuple):
    """A step that the compiler refuses, since it needs more memory than there is.

    Attributes:
        needed_gib: what it needs; None where the compiler does not say.
    """

    needed_gib: float | None


def compile_step(lower: Callable[[], jax.stages.Lowered]) -> jax.stages.Compiled | DoesNotFit:
    """Compile a step.

    Raises:
        InputError: the compiler fails for another reason than memory.
    """
    try:
        return lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            said = str(error).strip().splitlines()[0]
            raise InputError(f"the step cannot be compiled: {said}") from None
        needs = _NEEDS.search(str(error))
        return DoesNotFit(float(needs[1]) * _UNITS[needs[2]] / _GIB if needs else None)


class Memory(NamedTuple):
    """What a compiled step takes of a device's memory, in bytes.

    Attributes:
        arguments: parameters, optimizer state and batch.
        temporary: what is needed beside them while it runs.
        needed: both, and results that are in no argument's place.
        code: the program itself.
    """

    arguments: int
    temporary: int
    needed: int
    code: int


def memory_of(compiled: jax.stages.Compiled) -> Memory:
    """What the compiler says of a step's memory.

    Raises:
        InputError: it does not say.
    """
    memory = compiled.memory_analysis()
    if memory is None:
        raise InputError("the compiler does not say what memory the step needs")
    kept = memory.output_size_in_bytes - memory.alias_size_in_bytes
    arguments, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    needed = arguments + temporary + kept
    return Memory(arguments, temporary, needed, memory.generated_code_size_in_bytes)


def report_on(
    lower: Callable[[], jax.stages.Lowered], cost: Cost, devices: int, kind: DeviceKind, dtype: str
) -> Report | DoesNotFit:
    """Compile a step and read what it takes.

    Args:
        cost: of all devices together.
        dtype: of its products.

    Raises:
        InputError: the compiler fails for another reason than memory.
    """
    begun = time.perf_counter()
    compiled = compile_step(lower)
    seconds = time.perf_counter() - begun
    if isinstance(compiled, DoesNotFit):
        return compiled
    memory = memory_of(compiled)
    program = parse(compiled.as_text() or "")
    rows = moved_by(program)
    parts: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        parts[row.part] += row.size / _GIB
    beyond = cost.beyond / devices
    if beyond:
        parts["tiles that attention reads again"] += beyond / _GIB
    traffic = sum(parts.values())
    flops = cost.flops / devices
    return Report(
        args_gib=memory.arguments / _GIB,
        temp_gib=memory.temporary / _GIB,
        traffic_gib=traffic,
        flops=flops,
        memory_seconds=traffic * _GIB / kind.bandwidth,
        product_seconds=flops / (_ATTAINED * kind.peak_of(dtype)),
        fits=memory.needed <= kind.usable * kind.memory,
        parts=dict(sorted(parts.items(), key=lambda part: -part[1])),
        unordered=unordered(program) if kind.target.platform == "gpu" else None,
        exchanged_gib=exchanged(rows) / _GIB,
        program_mib=memory.code / 2**20,
        compile_seconds=seconds,
    )
