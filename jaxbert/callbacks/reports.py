"""--report_to: the writers of a run's events to other programs, by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from jaxbert.callbacks.mlflow_writer import MLflowWriter
from jaxbert.callbacks.tensorboard_writer import TensorBoardWriter
from jaxbert.callbacks.wandb_writer import WandbWriter
from jaxbert.errors import InputError
from jaxbert.training.events import Notify

TENSORBOARD = "tensorboard"  # the folder of its event files, in that of the run

# Name -> the package that it needs. The name is that of jaxbert's extra too.
_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


def check_reports(names: Sequence[str] | None) -> None:
    """Hold --report_to against what there is and what is installed.

    Raises:
        InputError: no such name, or its package is missing.
    """
    for name in names or ():
        if name == "none" and len(names or ()) > 1:
            raise InputError("--report_to none: leave out the others, or none")
        if name != "none" and name not in _PACKAGES:
            raise InputError(f"--report_to {name}: there are {', '.join(_PACKAGES)} and none")
        if name != "none" and importlib.util.find_spec(_PACKAGES[name]) is None:
            raise InputError(
                f"--report_to {name}: the package {_PACKAGES[name]} is not installed; "
                f"pip install 'jaxbert[{name}]'"
            )


def make_reports(names: Sequence[str] | None, folder: Path) -> list[Notify]:
    """The callbacks that --report_to names.

    Args:
        names: checked, see check_reports.
        folder: of the run. W&B and MLflow show its options next to the curves.
    """
    made: list[Notify] = []
    for name in names or ():
        if name == "tensorboard":
            made.append(TensorBoardWriter(folder / TENSORBOARD))
        elif name == "wandb":
            made.append(WandbWriter(folder))
        elif name == "mlflow":
            made.append(MLflowWriter(folder))
    return made
