"""Events -> the points of curves, named as Hugging Face's Trainer names them; a run's options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jaxbert.io.files import Json
from jaxbert.io.untrusted import read_object
from jaxbert.training.events import Evaluated, Logged


def recorded_options(folder: Path) -> Mapping[str, Json]:
    """The options of the run in a folder, as its options.json has them once the run has started."""
    options: Mapping[str, Json] = read_object(folder / "options.json")["options"]
    return options


def points_of(event: Logged | Evaluated) -> dict[str, float]:
    """Name -> value: train/loss, train/learning_rate, ..., eval/loss, eval/f1, ...

    What is not a finite number has no point, nor has a name of a class.

    >>> points_of(Logged(3, {"step": 3, "loss": 0.5, "grad_norm": None}))
    {'train/loss': 0.5}
    >>> points_of(Evaluated(3, {"f1": 80.0, "eval_loss": 1.5, "positive_label": "yes"}))
    {'eval/f1': 80.0, 'eval/loss': 1.5}
    """
    if isinstance(event, Logged):
        return {f"train/{n}": x for n, x in event.values.items() if n != "step" and x is not None}
    scores = {n.removeprefix("eval_"): x for n, x in event.scores.items()}
    return {f"eval/{n}": x for n, x in scores.items() if not isinstance(x, str)}
