"""Hostile config.json: code of strangers, sizes without measure, files that are none."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from hostile import (
    WORDS,
    Cases,
    config,
    content,
    pickled,
    sparse,
)


def folder_in_place(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def pipe_in_place(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


CASES: Cases = {
    # code
    "auto_map": (
        partial(
            config, auto_map={"AutoConfig": "modeling_evil.Config", "AutoModel": "modeling_evil.M"}
        ),
        "config.json: auto_map names code",
    ),
    "custom_pipelines": (
        partial(
            config, custom_pipelines={"question-answering": {"impl": "modeling_evil.Pipeline"}}
        ),
        "config.json: custom_pipelines names code",
    ),
    "trust_remote_code": (
        partial(config, trust_remote_code=True),
        "config.json: trust_remote_code",
    ),
    "attention of the Hub": (
        partial(config, _attn_implementation_internal="evil/kernel"),
        "config.json: _attn_implementation_internal is 'evil/kernel'",
    ),
    "attention of the Hub, by its public name": (
        partial(config, attn_implementation="evil/kernel:run"),
        "config.json: attn_implementation is 'evil/kernel:run'",
    ),
    "attention by parts": (
        partial(config, _attn_implementation={"": "evil/kernel"}),
        "config.json: _attn_implementation is {'': 'evil/kernel'}",
    ),
    # sizes
    "hidden_size": (partial(config, hidden_size=10**9), "config.json: hidden_size is 1000000000"),
    "layers": (
        partial(config, num_hidden_layers=10**6),
        "config.json: num_hidden_layers is 1000000",
    ),
    "layers that are allowed": (
        partial(config, num_hidden_layers=256),
        "config.json says 256 layers of 16 tensors each, but the weights have 39 tensors in all",
    ),
    "vocabulary of ten millions": (
        partial(config, vocab_size=10**7),
        "config.json: vocab_size is 10000000",
    ),
    "vocabulary that is allowed": (
        partial(config, vocab_size=2_000_000),
        f"{WORDS}  has shape \\(512, 16\\), config.json says \\(2000000, 16\\)",
    ),
    "everything large": (
        partial(config, hidden_size=16_384, num_hidden_layers=256, vocab_size=2_000_000),
        "config.json: its sizes make [0-9]+ parameters",
    ),
    "intermediate_size": (partial(config, intermediate_size=65_536), "config.json says \\(65536,"),
    "number of thousands of digits": (
        partial(content, "config.json", b'{"hidden_size": ' + b"9" * 4000 + b"}"),
        "config.json: hidden_size is 9{100}",
    ),
    "text of a million characters": (partial(config, model_type="x" * 10**6), "model_type is 'xxx"),
    "text with control characters": (
        partial(config, model_type="\x1b[2J\nbert\u202e"),
        r"model_type is '\\+x1b\[2J\\+nbert\\+u202e'",
    ),
    "name that is not Unicode": (
        partial(config, id2label={"0": "\ud800", "1": "b"}),
        "config.json: id2label is not of the form",
    ),
    "config of 200 MB": (
        partial(sparse, "config.json", 200 << 20),
        "config.json: it has 209715200 bytes",
    ),
    "config nested deeply": (
        partial(content, "config.json", b'{"a":' * 10**6),
        "config.json: cannot be read as JSON",
    ),
    "config is a pipe": (pipe_in_place, "config.json: not a file"),
    "config is a folder": (folder_in_place, "config.json: not a file"),
    "pickle named config.json": (partial(content, "config.json", pickled), "config.json"),
}
