"""Parameters of a loss of its own: drawn by its `init`, trained and saved with the model's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
from safetensors.numpy import save

from jaxbert.errors import InputError
from jaxbert.io.files import write_bytes
from jaxbert.losses.choose import ChosenLoss
from jaxbert.losses.forms import LOSS
from jaxbert.model.config import BertConfig
from jaxbert.model.params import Params

FILE = "loss.safetensors"
_Tree: TypeAlias = "dict[str, np.ndarray | _Tree]"


def with_loss_params(params: Params, loss: ChosenLoss, cfg: BertConfig, *, seed: int) -> Params:
    """The parameters of a run: those of the model and, under `loss`, those of its loss.

    Args:
        seed: of the run.

    Raises:
        InputError: `init` fails, or does not return a tree of dicts with arrays of numbers.
    """
    if loss.init is None:
        return params
    key = jax.random.fold_in(jax.random.key(seed), 2)
    drawn = loss.init(key, cfg)
    if not isinstance(drawn, Mapping) or not drawn:
        raise InputError(
            f"--loss {loss.name}: its init returned {type(drawn).__name__}, expected a dict of "
            "names and arrays"
        )
    return {**params, LOSS: _checked(drawn, loss.name, ())}


def _checked(tree: Params, name: str, path: tuple[str, ...]) -> _Tree:
    found: _Tree = {}
    for part, value in tree.items():
        where = ".".join((*path, str(part)))
        if not isinstance(part, str) or not part or "." in part or "/" in part:
            raise InputError(
                f"--loss {name}: its init names a parameter {where!r}; give a name without . and /"
            )
        if isinstance(value, Mapping):
            found[part] = _checked(value, name, (*path, part))
            continue
        try:
            array = np.asarray(value, np.float32)
        except (TypeError, ValueError):
            raise InputError(f"--loss {name}: its init gives {where} no numbers") from None
        if not np.isfinite(array).all():
            raise InputError(f"--loss {name}: its init gives {where} numbers that are not finite")
        found[part] = array
    return found


def of_model(params: Params) -> Params:
    """Those of the model alone."""
    return {name: part for name, part in params.items() if name != LOSS}


def save_loss_params(folder: Path, params: Params) -> None:
    """loss.safetensors beside the model, with names such as centers.kernel; an older one of a loss
    without parameters is removed."""
    own = params.get(LOSS)
    if not isinstance(own, Mapping):
        (folder / FILE).unlink(missing_ok=True)
        return
    leaves, _ = jax.tree_util.tree_flatten_with_path(own)
    tensors = {
        ".".join(str(part.key) for part in path): np.ascontiguousarray(x) for path, x in leaves
    }
    write_bytes(folder / FILE, save(tensors, metadata={"format": "np"}))
