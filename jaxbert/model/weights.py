"""Opens files of weights as tensors that are read on demand. Nothing here reads a pickle.

A file's size and header are checked before memory is allocated for its tensors.
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
from jaxbert.model.folders import explain_no_model

_PICKLES = re.compile(r".*\.(bin|pt|pth|pkl|pickle|ckpt|joblib)", re.DOTALL)
# Largest header of a safetensors file in bytes; that of 256 layers has half a megabyte.
_MAX_HEADER = 2 << 20


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint that has not been read yet."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def open_weights(
    folder: Path, max_bytes: int
) -> contextlib.AbstractContextManager[dict[str, Tensor]]:
    """The tensors of a model folder, by their names in the file, while the context is open.

    Args:
        max_bytes: largest size of a file that is read at once.

    Raises:
        InputError: there are no weights, or files are damaged, pickles, or outside the folder.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        return _open_safetensors([folder / "model.safetensors"])
    if index.exists():
        names = read_object(index).get("weight_map")
        if not isinstance(names, dict):
            raise InputError(f"{index}: not a safetensors index: it has no object weight_map")
        for name in names.values():
            is_file_name = isinstance(name, str) and Path(name).name == name not in ("", "..")
            if not is_file_name or not name.isprintable() or _PICKLES.fullmatch(name):
                actual = shown(repr(name))
                raise InputError(f"{index}: names {actual}, which is not a file of this folder")
        return _open_safetensors([folder / name for name in sorted(set(names.values()))])
    if (folder / "flax_model.msgpack").exists():
        return _open_msgpack(folder / "flax_model.msgpack", max_bytes)
    pickles = [p.name for p in folder.iterdir() if _PICKLES.fullmatch(p.name)]
    if pickles:  # prefer the weights: an optimizer's state may be there too
        pickles.sort(key=lambda name: (not name.startswith("pytorch_model"), name))
        name = pickles[0]
        command = (
            ': python -c "import torch, safetensors.torch as s; s.save_file({k: v.clone() for k, v '
            f"in torch.load('{name}', weights_only=True).items()}}, 'model.safetensors')\""
        )
        if not re.fullmatch(r"[\w.-]+", name):  # a quote could inject code into the command
            command = ""
        raise InputError(
            f"{folder / shown(name)}: a pickle can run code when it is read, so jaxbert does not "
            f"read it; convert it where PyTorch is installed{command}"
        )
    if explanation := explain_no_model(folder):
        raise InputError(f"{folder}: {explanation}")
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
                raise InputError(
                    f"{path}: not a complete safetensors file ({shown(error)})"
                ) from None
            for name in list(file.keys()):
                if name in tensors:
                    raise InputError(
                        f"{path}: tensor {shown(name)} is also in another file of the model"
                    )
                shape = tuple(file.get_slice(name).get_shape())
                tensors[name] = Tensor(shape, functools.partial(file.get_tensor, name))
        yield tensors


def _check_header(path: Path) -> None:
    """Refuse a header that is too large; the library would allocate memory for 100 MB and more."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > _MAX_HEADER:
        raise InputError(
            f"{path}: not a complete safetensors file (its header has {size} bytes; at most "
            f"{_MAX_HEADER} are plausible)"
        )


@contextlib.contextmanager
def _open_msgpack(path: Path, max_bytes: int) -> Iterator[dict[str, Tensor]]:
    """The parameters of transformers' old Flax classes, with the names of its PyTorch classes."""
    check_file(path, max_bytes)
    try:
        tree = serialization.msgpack_restore(path.read_bytes())
        flat = traverse_util.flatten_dict(tree)
        flat = {p[1:] if p[0] == "params" else p: x for p, x in flat.items()}
        if not all(leaf and all(isinstance(name, str) for name in leaf) for leaf in flat):
            raise ValueError("a name is not a string")
        if not all(isinstance(array, np.ndarray) for array in flat.values()):
            raise ValueError("a leaf is not an array")
    except Exception as error:  # msgpack raises its own and NumPy's errors for damaged bytes
        reason = shown(error) or type(error).__name__
        raise InputError(f"{path}: not a complete Flax msgpack file ({reason})") from None
    tensors: dict[str, Tensor] = {}
    for leaf, array in flat.items():
        parameter = {"kernel": "weight", "scale": "weight", "embedding": "weight"}.get(
            leaf[-1], leaf[-1]
        )
        if leaf[-1] == "kernel":
            array = array.T
        tensors[".".join((*leaf[:-1], parameter))] = Tensor(
            array.shape, functools.partial(np.asarray, array)
        )
    yield tensors
