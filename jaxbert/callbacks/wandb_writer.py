"""A run's curves and settings in Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jaxbert.callbacks.points import points_of, recorded_options
from jaxbert.training.events import Evaluated, Event, Finished, Logged, Started

if TYPE_CHECKING:
    import wandb


class WandbWriter:
    """A callback that logs to the run that is open, else to one of its own, which it finishes.

    Project, mode and so on are W&B's environment variables: WANDB_PROJECT, WANDB_MODE=offline, ...
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: wandb.Run | None = None
        self._opened = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            import wandb

            self._opened = wandb.run is None
            self._run = wandb.run or wandb.init(
                name=self._folder.name,
                dir=str(self._folder),
                config=dict(recorded_options(self._folder)),
            )
            self._run.define_metric("step")
            self._run.define_metric("*", step_metric="step")
        if self._run is None:
            return
        if isinstance(event, Logged | Evaluated):
            self._run.log({**points_of(event), "step": event.step})
        elif isinstance(event, Finished) and self._opened:
            self._run.finish(exit_code=0 if event.done else 1)
