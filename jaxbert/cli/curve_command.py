"""Draw the training curves of one or more runs (extra `plot`).

jaxbert curve --runs runs/squad_0 runs/squad_1 --output curve.png
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from jaxbert.cli import command_line
from jaxbert.errors import InputError
from jaxbert.options.fields import Settings, option

_SMOOTH = 20  # steps that a point of the curve is the mean of


@dataclasses.dataclass(frozen=True)
class CurveOptions(Settings):
    """Flags of the command."""

    runs: list[str] | None = option(None, "Output folders of training runs.", path=True)
    output: str = option("curve.png", "The picture.", path=True)
    debug: bool = option(False, "Show the traceback of an error.")


def _read_log(run: str) -> dict[str, list[float]]:
    path = Path(run) / "train_log.jsonl"
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); is it the folder of a run?") from None
    lines = [line for line in lines if None not in line.values()]  # steps that were skipped
    if not lines:
        raise InputError(f"{path}: no step has been logged")
    names = [name for name in lines[0] if all(name in line for line in lines)]
    return {name: [line[name] for line in lines] for name in names}


def _smooth(values: list[float]) -> list[float]:
    return [
        sum(values[max(0, i - _SMOOTH + 1) : i + 1]) / min(i + 1, _SMOOTH)
        for i in range(len(values))
    ]


def run(words: Sequence[str]) -> None:
    """Draw the curves."""
    options = command_line.parse(CurveOptions, words, prog="jaxbert curve", description=__doc__)
    if not options.runs:
        raise InputError("give --runs, the folders of training runs")
    logs = {Path(run).name: _read_log(run) for run in options.runs}
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise InputError('matplotlib is not installed; pip install "jaxbert[plot]"') from None
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, log in logs.items():
        left.plot(log["step"], _smooth(log["loss"]), label=name)
        for side in (n for n in log if n.endswith("_accuracy")):
            label = f"{name}, {side.removesuffix('_accuracy')}"
            right.plot(log["step"], _smooth(log[side]), label=label)
    left.set(xlabel="step", ylabel=f"training loss, mean of {_SMOOTH} steps")
    right.set(xlabel="step", ylabel=f"training accuracy, mean of {_SMOOTH} steps")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(options.output, dpi=120)
    print(options.output)
