"""Hostile tokenizers: code, slow expressions, tokens without a row, files of any size."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from hostile import (
    Cases,
    content,
    edit,
    pickled,
    sparse,
    tokenizer,
    without_tokenizer_json,
)


def split(pattern: dict[str, str]) -> dict[str, Any]:
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def template(number: int, type_id: int = 0, pieces: int = 1) -> dict[str, Any]:
    piece = {"SpecialToken": {"id": "[CLS]", "type_id": type_id}}
    return {
        "type": "TemplateProcessing",
        "single": [piece] * pieces,
        "pair": [{"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [number], "tokens": ["[CLS]"]}},
    }


def unknown_among_the_added(folder: Path) -> None:
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text())
    del raw["model"]["vocab"]["[UNK]"]
    raw["added_tokens"] = [{**TOKEN, "content": "[UNK]", "id": 500}]
    path.write_text(json.dumps(raw))


def many_lines(folder: Path) -> None:
    with (folder / "vocab.txt").open("a") as file:
        file.writelines(f"{number}\n" for number in range(10**6))


SLOW = {"Regex": "(a|a)*(a|aa)+$"}
REPLACE = {"type": "Replace", "pattern": SLOW, "content": ""}
TOKEN = {
    **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False),
    "content": "new",
}

CASES: Cases = {
    # code
    "auto_map of the tokenizer": (
        partial(
            edit, "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_evil.T", None]}
        ),
        "tokenizer_config.json: auto_map names code",
    ),
    "class of the tokenizer": (
        partial(edit, "tokenizer_config.json", tokenizer_class="tokenization_evil.EvilTokenizer"),
        "tokenizer_config.json: tokenizer_class is 'tokenization_evil.EvilTokenizer'",
    ),
    # tokenizer.json and vocab.txt
    "slow expression splits": (
        partial(tokenizer, pre_tokenizer=split(SLOW)),
        "tokenizer.json: pre_tokenizer is 'Split'",
    ),
    "slow expression in a list": (
        partial(
            tokenizer,
            pre_tokenizer={
                "type": "Sequence",
                "pretokenizers": [{"type": "BertPreTokenizer"}, split(SLOW)],
            },
        ),
        "tokenizer.json: pre_tokenizer is 'Split'",
    ),
    "slow expression replaces": (
        partial(tokenizer, normalizer=REPLACE),
        "tokenizer.json: normalizer is 'Replace'",
    ),
    "slow expression decodes": (
        partial(tokenizer, decoder=REPLACE),
        "tokenizer.json: decoder is 'Replace'",
    ),
    "list in a list": (
        partial(
            tokenizer,
            normalizer={
                "type": "Sequence",
                "normalizers": [{"type": "Sequence", "normalizers": [REPLACE]}],
            },
        ),
        "tokenizer.json: normalizer is 'Sequence'",
    ),
    "list of a million": (
        partial(
            tokenizer, normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}] * 10**5}
        ),
        "tokenizer.json: normalizer: not a list of at most 16",
    ),
    "characters map": (
        partial(tokenizer, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "tokenizer.json: normalizer is 'Precompiled'",
    ),
    "other model": (
        partial(tokenizer, model={"type": "BPE", "vocab": {}, "merges": []}),
        "tokenizer.json: model is 'BPE'",
    ),
    "other post-processor": (
        partial(tokenizer, post_processor={"type": "ByteLevel"}),
        "tokenizer.json: post_processor is 'ByteLevel'",
    ),
    "words of a billion characters": (
        partial(tokenizer, model__max_input_chars_per_word=10**9),
        "tokenizer.json: model.max_input_chars_per_word is 1000000000",
    ),
    "a decoder that is a text": (
        partial(tokenizer, decoder="WordPiece"),
        "tokenizer.json: decoder is 'WordPiece', which cannot be read",
    ),
    "a model that is a text": (
        partial(tokenizer, model="WordPiece"),
        "tokenizer.json: model is 'WordPiece', which cannot be read",
    ),
    "a prefix of a megabyte": (
        partial(tokenizer, model__continuing_subword_prefix="#" * (1 << 20)),
        "tokenizer.json: model.continuing_subword_prefix is '####",
    ),
    "unknown token that is none": (
        partial(tokenizer, model__unk_token="nothing"),
        "tokenizer.json: model.unk_token is 'nothing'",
    ),
    "unknown token among the added only": (
        unknown_among_the_added,
        r"tokenizer.json: model.unk_token is '\[UNK\]', which model.vocab does not have",
    ),
    "two tokens of one id": (
        partial(tokenizer, model__vocab__the=1),
        r"tokenizer.json: '\[UNK\]' and 'the' have the same id 1",
    ),
    "template of a token out of range": (
        partial(tokenizer, post_processor=template(10**6)),
        r"tokenizer.json: post_processor cannot be read \(the token '\[CLS\]' does not have the id",
    ),
    "template of a segment out of range": (
        partial(tokenizer, post_processor=template(2, type_id=10**9)),
        "tokenizer.json: post_processor cannot be read",
    ),
    "template of a million pieces": (
        partial(tokenizer, post_processor=template(2, pieces=10**5)),
        r"tokenizer.json: post_processor cannot be read \(too many pieces",
    ),
    "token out of range": (
        partial(tokenizer, model__vocab__the=2**31),
        "tokenizer.json: model.vocab cannot be read",
    ),
    "token below zero": (
        partial(tokenizer, model__vocab__the=-1),
        "tokenizer.json: model.vocab cannot be read",
    ),
    "token without a row": (
        partial(tokenizer, model__vocab__the=512),
        "ids up to 512, but config.json's vocab_size is 512",
    ),
    "added token out of range": (
        partial(tokenizer, added_tokens=[{**TOKEN, "id": 10**9}]),
        "tokenizer.json: added_tokens cannot be read",
    ),
    "a hundred thousand added tokens": (
        partial(
            tokenizer,
            added_tokens=[{**TOKEN, "content": f"n{i}", "id": 500 + i} for i in range(100_000)],
        ),
        "tokenizer.json: added_tokens cannot be read: not a list of at most 10000",
    ),
    "added tokens without a row": (
        partial(
            tokenizer,
            added_tokens=[{**TOKEN, "content": f"n{i}", "id": 500 + i} for i in range(999)],
        ),
        "but config.json's vocab_size is 512",
    ),
    "tokenizer of 200 MB": (
        partial(sparse, "tokenizer.json", 200 << 20),
        "tokenizer.json: it has 209715200 bytes",
    ),
    "vocabulary of 200 MB": (
        partial(without_tokenizer_json, partial(sparse, "vocab.txt", 200 << 20)),
        "vocab.txt: it has 209715200 bytes",
    ),
    "vocabulary of a million lines": (
        partial(without_tokenizer_json, many_lines),
        "config.json's vocab_size is 512",
    ),
    **{
        f"pickle named {name}": (partial(content, name, pickled), name)
        for name in ("tokenizer.json", "tokenizer_config.json")
    },
    "pickle named vocab.txt": (
        partial(without_tokenizer_json, partial(content, "vocab.txt", pickled)),
        "its tokenizer cannot be read",
    ),
}
