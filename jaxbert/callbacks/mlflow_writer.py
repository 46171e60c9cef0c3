"""A run's curves and settings in MLflow."""

from __future__ import annotations

from pathlib import Path

from jaxbert.callbacks.points import points_of, recorded_options
from jaxbert.training.events import Evaluated, Event, Finished, Logged, Started

_LONGEST = 6000  # characters of a parameter


class MLflowWriter:
    """A callback that logs to the run that is active, else to one of its own, which it ends.

    Where it goes are MLflow's environment variables: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run_id: str | None = None
        self._opened = False

    def __call__(self, event: Event) -> None:
        import mlflow

        if isinstance(event, Started):
            active = mlflow.active_run()
            self._opened = active is None
            active = active or mlflow.start_run(run_name=self._folder.name)
            self._run_id = active.info.run_id
            options = recorded_options(self._folder).items()
            mlflow.log_params({n: str(x)[:_LONGEST] for n, x in options if x is not None})
        if self._run_id is None:
            return
        if isinstance(event, Logged | Evaluated):
            mlflow.log_metrics(points_of(event), step=event.step, run_id=self._run_id)
        elif isinstance(event, Finished) and self._opened:
            mlflow.end_run("FINISHED" if event.done else "KILLED")
