"""Model folders that were made to do harm: each is refused in one line, and nothing of it runs.

The faults are in the tables hostile_*.py.
"""

from __future__ import annotations

import gc
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hostile_configs
import hostile_links
import hostile_tokenizers
import hostile_weights
import numpy as np
import pytest
from hostile import (
    MODULES,
    OPENERS,
    OUT,
    PICKLES,
    Change,
    add_canaries,
    canary_of,
    check_refused,
    config,
    edit,
    header,
    open_for_training,
    tensor,
    tokenizer,
    whole_folder,
    with_fault,
)

from jaxbert.errors import InputError
from jaxbert.model.pretrained import load_pretrained
from jaxbert.model.tokenizer import load_tokenizer

pytestmark = pytest.mark.integration

TABLES = (hostile_configs, hostile_links, hostile_tokenizers, hostile_weights)
CASES = [pytest.param(*case, id=name) for table in TABLES for name, case in table.CASES.items()]


@pytest.fixture(scope="module", autouse=True)
def _others_objects_are_not_looked_through() -> Iterator[None]:
    """What other tests have left in the process takes no time of a folder that is timed."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_folder(tiny_folder, tmp_path_factory.mktemp("hostile") / "model")


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize(("change", "expected"), CASES)
def test_a_hostile_folder_is_refused(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    expected: str,
    opened: Callable[[Path], Any],
) -> None:
    folder = with_fault(whole, tmp_path, change)
    monkeypatch.chdir(folder)
    check_refused(opened, folder, expected)


# --- honest folders, and names that are none ----------------------------------------------------


def test_the_canaries_work(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    add_canaries(folder)
    for name in (*PICKLES, *MODULES):
        raw = (folder / name).read_bytes()
        if name in PICKLES:
            pickle.loads(raw)
        else:
            exec(raw)
        assert canary_of(folder).exists()
        canary_of(folder).unlink()


def test_the_whole_folder_is_opened(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole)
    for opened in OPENERS:
        opened(whole)
    assert not canary_of(whole).exists()


@pytest.mark.parametrize("kind", ["sdpa", "eager", None])
def test_fields_of_honest_folders(whole: Path, tmp_path: Path, kind: str | None) -> None:
    fields = partial(config, _attn_implementation=kind, auto_map=None, architectures=["BertModel"])
    folder = with_fault(whole, tmp_path, fields)
    edit("tokenizer_config.json", folder, tokenizer_class="BertTokenizerFast", auto_map=None)
    for opened in OPENERS:
        opened(folder)


@pytest.mark.parametrize(
    "name", ["x" * 5000, "a/" * 5000, "\0", "a\nb", "~nobody-there/x", "\ud800"]
)
def test_names_that_are_no_folder(name: str) -> None:
    for opened in OPENERS:
        with pytest.raises(InputError) as caught:
            opened(name)
        assert len(str(caught.value).splitlines()) == 1


# --- links ---------------------------------------------------------------------------------------


def hub_cache(whole: Path, tmp_path: Path) -> Path:
    """The files as the Hub's client lays them: links from a snapshot to the model's blobs."""
    model = tmp_path / "models--someone--bert"
    snapshot = model / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    for number, file in enumerate(sorted(whole.iterdir())):
        shutil.copy(file, model / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_links_of_the_cache_of_the_hub(whole: Path, tmp_path: Path) -> None:
    snapshot = hub_cache(whole, tmp_path)
    (tmp_path / "short").symlink_to(snapshot)
    for folder in (snapshot, tmp_path / "short"):
        for opened in OPENERS:
            opened(folder)


@pytest.mark.parametrize("fault", ["blob", "blobs", "other model", "other name"])
def test_the_cache_of_the_hub_does_not_hide_other_links(
    whole: Path, tmp_path: Path, fault: str
) -> None:
    snapshot = hub_cache(whole, tmp_path)
    model = snapshot.parents[1]
    blob = (snapshot / "config.json").resolve()
    if fault == "blob":
        shutil.move(blob, tmp_path / "outside")
        blob.symlink_to(tmp_path / "outside")
    elif fault == "blobs":
        shutil.move(model / "blobs", tmp_path / "outside")
        (model / "blobs").symlink_to(tmp_path / "outside")
    elif fault == "other model":
        other = tmp_path / "models--someone--else" / "blobs"
        other.mkdir(parents=True)
        shutil.move(blob, other / "0")
        (snapshot / "config.json").unlink()
        (snapshot / "config.json").symlink_to(other / "0")
    else:
        model.rename(tmp_path / "else")
        snapshot = tmp_path / "else" / "snapshots" / snapshot.name
    with pytest.raises(InputError, match=f"config.json: {OUT}"):
        open_for_training(snapshot)


def test_links_within_the_folder(whole: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "weights")
        (folder / "model.safetensors").symlink_to("weights")

    folder = with_fault(whole, tmp_path, change)
    for opened in OPENERS:
        opened(folder)


# --- tokenizers ----------------------------------------------------------------------------------


def test_padding_and_truncation_of_the_file_do_nothing(whole: Path, tmp_path: Path) -> None:
    padding = {
        "strategy": {"Fixed": 10**9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    found = load_tokenizer(
        with_fault(whole, tmp_path, partial(tokenizer, padding=padding, truncation=truncation))
    )
    assert len(found("the of")["input_ids"]) == 4
    assert len(found.backend_tokenizer.encode("the of").ids) == 4


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(10**12, 0), (), (2, 2), (0,)])
def test_a_classifier_of_a_trillion_classes(
    whole: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    """Names are made for the classes of a classifier, as many as its bias says."""

    def alter(tensors: dict[str, np.ndarray]) -> None:
        tensors["classifier.bias"] = np.zeros(shape, np.float32)

    with pytest.raises(InputError, match=r"classifier\.bias has shape"):
        load_pretrained(with_fault(whole, tmp_path, partial(tensor, alter)), "classification")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "I16", "BOOL"])
def test_a_second_decoder_of_another_type(whole: Path, tmp_path: Path, dtype: str) -> None:
    """The copy of a tied tensor is read too, to be held against the first."""
    name = "cls.predictions.decoder.bias"
    size = 1024 if dtype == "I16" else 512

    def alter(tensors: dict[str, np.ndarray]) -> None:
        tensors["cls.predictions.bias"] = np.zeros(512, np.float32)
        tensors[name] = np.zeros(size, np.uint8)

    folder = with_fault(whole, tmp_path, partial(tensor, alter))
    header(lambda h: h[name].update(dtype=dtype, shape=[512]), folder)
    with pytest.raises(InputError, match=f"{name} (cannot be read|has dtype)"):
        load_pretrained(folder, "mlm")
