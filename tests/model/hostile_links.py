"""Links that lead out of a model folder."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from hostile import (
    BIAS,
    OUT,
    Cases,
    content,
    link,
    only,
    sparse,
    without_tokenizer_json,
)


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
