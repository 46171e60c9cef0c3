"""A run's curves as TensorBoard's event files, by the package tensorboardX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jaxbert.callbacks.points import points_of
from jaxbert.training.events import Evaluated, Event, Finished, Logged, Saved, Started

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


class TensorBoardWriter:
    """A callback that writes to `folder`; a resumed run continues its curves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            import tensorboardX

            # Points behind the checkpoint, of a run that was killed, are hidden.
            purge = event.step + 1 if event.step else None
            self._writer = tensorboardX.SummaryWriter(
                str(self._folder), purge_step=purge, flush_secs=10
            )
        if self._writer is None:
            return
        if isinstance(event, Logged | Evaluated):
            for name, value in points_of(event).items():
                self._writer.add_scalar(name, value, event.step)
        elif isinstance(event, Saved):
            self._writer.flush()
        elif isinstance(event, Finished):
            self._writer.close()
