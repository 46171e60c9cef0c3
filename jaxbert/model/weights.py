"""Files of weights -> tensors that have not been read yet. Nothing here reads a pickle.

Everything is judged by a file's size and header, before memory is taken for what it announces.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import ml_dtypes  # noqa: F401  (gives numpy the dtype bfloat16)
import numpy as np
from flax import serialization, traverse_util
from safetensors import SafetensorError, safe_open

from jaxbert.errors import InputError
from jaxbert.io.untrusted import check_file, read_object, shown
from jaxbert.model.folders import what_it_is

_PICKLES = re.compile(r".*\.(bin|pt|pth|pkl|pickle|ckpt|joblib)", re.DOTALL)
# The largest header of a safetensors file; that of 256 layers has half a megabyte.
_HEADER = 2 << 20


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint that has not been read yet."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def open_weights(folder: Path, most: int) -> contextlib.AbstractContextManager[dict[str, Tensor]]:
    """The tensors of a model folder, by their names in the file, as long as the context lasts.

    Args:
        most: bytes that a file may have which is read whole.

    Raises:
        InputError: there are no weights, or the files are damaged, pickles, or not of the folder.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        return _open_safetensors([folder / "model.safetensors"])
    if index.exists():
        names = read_object(index).get("weight_map")
        if not isinstance(names, dict):
            raise InputError(f"{index}: not a safetensors index: no object weight_map in it")
        for name in names.values():
            plain = isinstance(name, str) and Path(name).name == name not in ("", "..")
            if not plain or not name.isprintable() or _PICKLES.fullmatch(name):
                found = shown(repr(name))
                raise InputError(f"{index}: names {found}, which is not a file of this folder")
        return _open_safetensors([folder / name for name in sorted(set(names.values()))])
    if (folder / "flax_model.msgpack").exists():
        return _open_msgpack(folder / "flax_model.msgpack", most)
    pickles = [p.name for p in folder.iterdir() if _PICKLES.fullmatch(p.name)]
    if pickles:  # the weights' own first: an optimizer's state may lie beside them
        pickles.sort(key=lambda name: (not name.startswith("pytorch_model"), name))
        name = pickles[0]
        command = (
            ': python -c "import torch, safetensors.torch as s; s.save_file({k: v.clone() for k, v '
            f"in torch.load('{name}', weights_only=True).items()}}, 'model.safetensors')\""
        )
        if not re.fullmatch(r"[\w.-]+", name):  # a quote in it would make it part of the program
            command = ""
        raise InputError(
            f"{folder / shown(name)}: a pickle can run code when it is read, so jaxbert does not "
            f"read it; convert it where PyTorch is{command}"
        )
    if instead := what_it_is(folder):
        raise InputError(f"{folder}: {instead}")
    raise InputError(
        f"{folder}: no weights; expected model.safetensors, model.safetensors.index.json or "
        "flax_model.msgpack"
    )


@contextlib.contextmanager
def _open_safetensors(files: list[Path]) -> Iterator[dict[str, Tensor]]:
    with contextlib.ExitStack() as stack:
        tensors: dict[str, Tensor] = {}
        for path in files:
            try:
                check_file(path, None)
                _check_header(path)
                file = stack.enter_context(safe_open(path, framework="numpy"))
            except FileNotFoundError:
                raise InputError(f"{path}: no such file, though the index names it") from None
            except (OSError, SafetensorError) as error:
                raise InputError(f"{path}: not a whole safetensors file ({shown(error)})") from None
            for name in list(file.keys()):
                if name in tensors:
                    raise InputError(
                        f"{path}: tensor {shown(name)} is in another file of the model too"
                    )
                shape = tuple(file.get_slice(name).get_shape())
                tensors[name] = Tensor(shape, functools.partial(file.get_tensor, name))
        yield tensors


def _check_header(path: Path) -> None:
    """Refuse a header that is too large; the library would take memory for 100 MB and more."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > _HEADER:
        raise InputError(
            f"{path}: not a whole safetensors file (its header has {size} bytes, at most {_HEADER} "
            "are believable)"
        )


@contextlib.contextmanager
def _open_msgpack(path: Path, most: int) -> Iterator[dict[str, Tensor]]:
    """The parameters of transformers' old Flax classes, under the names of its PyTorch classes."""
    check_file(path, most)
    try:
        tree = serialization.msgpack_restore(path.read_bytes())
        flat = traverse_util.flatten_dict(tree)
        flat = {p[1:] if p[0] == "params" else p: x for p, x in flat.items()}
        if not all(leaf and all(isinstance(name, str) for name in leaf) for leaf in flat):
            raise ValueError("a name is not a string")
        if not all(isinstance(array, np.ndarray) for array in flat.values()):
            raise ValueError("a leaf is not an array")
    except Exception as error:  # msgpack raises its own, and numpy's, for damaged bytes
        reason = shown(error) or type(error).__name__
        raise InputError(f"{path}: not a whole Flax msgpack file ({reason})") from None
    tensors: dict[str, Tensor] = {}
    for leaf, array in flat.items():
        kind = {"kernel": "weight", "scale": "weight", "embedding": "weight"}.get(
            leaf[-1], leaf[-1]
        )
        if leaf[-1] == "kernel":
            array = array.T
        tensors[".".join((*leaf[:-1], kind))] = Tensor(
            array.shape, functools.partial(np.asarray, array)
        )
    yield tensors
