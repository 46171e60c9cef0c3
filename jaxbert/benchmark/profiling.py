"""Where the time of a training step goes, by the parts of the model.

JAX's profiler tells how long each operation of the compiled program ran; the program's text tells
which part of the model the operation came from.
"""

from __future__ import annotations

import collections
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax

from jaxbert.benchmark.ours import Training

# Parts of the model with patterns of operations' paths; the first that matches is taken.
_PARTS = {
    "dense products": r"/(query|key|value|output|mlp_in|mlp_out|qa|pooler)/.*dot_general",
    "attention products": r"/attention/B\w+,B\w+->B\w+/",
    "LayerNorm": r"norm/",
    "softmax, attention dropout": r"layer_\d+/attention/(?!query|key|value|output)",
    "GELU, dropout, residuals, biases": r"layer_\d+/",
    "embeddings": r"/embeddings/",
    "head and loss": r"jvp",
    "optimizer": r"train_step\)/",
}
_OTHER = "copies and the rest"


class Profile(NamedTuple):
    """Seconds of a step, and of its operations by part.

    On a CPU operations run in parallel, so the parts can add up to more than the step.
    """

    step: float
    parts: dict[str, float]


def part_of(path: str) -> str:
    """The part of the model that an operation belongs to, by its path in the compiled program."""
    return next((part for part, pattern in _PARTS.items() if re.search(pattern, path)), _OTHER)


def parts_of(program: str) -> dict[str, str]:
    """The part of every operation of a compiled program, by the operation's name.

    Args:
        program: its text. A fusion belongs to the part of its products, if it has any; else to
            its own part, or the most frequent one in it.
    """
    inside: dict[str, list[str]] = collections.defaultdict(list)
    operations = []
    computation = ""
    for line in program.splitlines():
        if line and not line[0].isspace():
            computation = line.removeprefix("ENTRY ").split(" ")[0].removeprefix("%")
        named = re.match(r"\s+(?:ROOT )?%?([\w.-]+) = ", line)
        if not named:
            continue
        path = re.search(r'op_name="([^"]*)"', line)
        called = re.search(r"calls=%?([\w.-]+)", line)
        part = part_of(path[1]) if path else _OTHER
        inside[computation].append(part)
        operations.append((named[1], called[1] if called else None, part))
    return {
        name: _most(inside[called], part) if called else part for name, called, part in operations
    }


def _most(parts: list[str], own: str) -> str:
    for part in ("dense products", "attention products"):
        if part in parts:
            return part
    if own != _OTHER:
        return own
    counted = collections.Counter(part for part in parts if part != _OTHER)
    return counted.most_common(1)[0][0] if counted else _OTHER


def profile(training: Training, steps: int = 3) -> Profile:
    """Profile a training by running some steps."""
    state, key = training.state, jax.random.key(0)
    batch = training.parallel.shard(training.batches[0])
    compiled = training.step.lower(state, batch, key).compile()
    part_by_operation = parts_of(compiled.as_text() or "")
    state, _ = jax.block_until_ready(compiled(state, batch, key))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                state, _ = jax.block_until_ready(compiled(state, batch, key))
        (trace,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(trace))
    parts: dict[str, float] = dict.fromkeys([*_PARTS, _OTHER], 0.0)
    first, last = float("inf"), 0.0
    for plane in data.planes:
        for line in plane.lines:
            for event in line.events:
                operation = dict(event.stats).get("hlo_op") if event.duration_ns else None
                if operation is None:
                    continue
                part = part_by_operation.get(str(operation), _OTHER)
                parts[part] += event.duration_ns / 1e9 / steps
                first = min(first, event.start_ns)
                last = max(last, event.start_ns + event.duration_ns)
    return Profile((last - first) / 1e9 / steps, parts)
