"""Links that lead out of a model folder, and those of the Hub's cache, which do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hostile import (
    BIAS,
    OPENERS,
    OUT,
    Cases,
    Change,
    check_refused,
    content,
    link,
    only,
    open_for_training,
    sparse,
    whole_folder,
    with_fault,
    without_tokenizer_json,
)

from jaxbert.errors import InputError


def shard_link(folder: Path) -> None:
    (folder / "shard.safetensors").symlink_to("/dev/zero")
    index = {"weight_map": {BIAS: "shard.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


CASES: Cases = {
    "config is a link": (partial(link, "config.json", "../outside"), f"config.json: {OUT}"),
    "weights are a link": (
        partial(link, "model.safetensors", "../outside"),
        f"model.safetensors: {OUT}",
    ),
    "tokenizer is a link": (
        partial(link, "tokenizer.json", "../outside"),
        f"tokenizer.json: {OUT}",
    ),
    "settings are a link": (
        partial(link, "tokenizer_config.json", "../outside"),
        f"tokenizer_config.json: {OUT}",
    ),
    "vocabulary is a link": (
        partial(without_tokenizer_json, partial(link, "vocab.txt", "/etc/hostname")),
        f"vocab.txt: {OUT}",
    ),
    "endless link": (partial(link, "config.json", "/dev/zero"), f"config.json: {OUT}"),
    "link to itself": (partial(link, "config.json", "config.json"), "config.json: cannot be read"),
    "shard is a link": (partial(only, shard_link), f"shard.safetensors: {OUT}"),
    "index names a file outside": (
        partial(
            only,
            partial(
                content,
                "model.safetensors.index.json",
                b'{"weight_map": {"x": "../../models--a/blobs/model.safetensors"}}',
            ),
        ),
        "index.json: names '../../models--a/blobs/model.safetensors'",
    ),
    "index of 200 MB": (
        partial(only, partial(sparse, "model.safetensors.index.json", 200 << 20)),
        "index.json: it has 209715200 bytes",
    ),
}


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_folder(tiny_folder, tmp_path_factory.mktemp("hostile") / "model")


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize(("change", "expected"), CASES.values(), ids=list(CASES))
def test_hostile_links_are_refused(
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
