"""Tokenizers of bytes and of SentencePiece: what is opened as transformers opens it, and what of a
folder is refused in one line."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from family_folders import SENTENCES, TOKENIZERS, tokenizer_of

from jaxbert.errors import InputError
from jaxbert.model.tokenizer import load_tokenizer

TEXTS = [*SENTENCES, " x", "a <mask> b", "<pad></s>", "\n \u00a0", "e\u0301\u0301", "[SEP]##s", ""]
Change = Callable[[dict[str, Any]], object]


def saved(folder: Path, family: str) -> Path:
    tokenizer_of(family).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    return folder


def edit(path: Path, change: Change) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def assert_equal(ours: Any, theirs: Any) -> None:
    for text in TEXTS:
        for pair in (None, "y z"):
            one, other = (t(text, pair, return_offsets_mapping=True) for t in (ours, theirs))
            assert one["input_ids"] == other["input_ids"], text
            assert one["offset_mapping"] == other["offset_mapping"], text


@pytest.mark.parametrize("family", TOKENIZERS)
@pytest.mark.parametrize("cls", ["own", "none", "PreTrainedTokenizerFast"])
def test_tokens_are_those_of_transformers(tmp_path: Path, family: str, cls: str) -> None:
    folder = saved(tmp_path, family)
    if cls == "none":
        edit(folder / "tokenizer_config.json", lambda c: c.pop("tokenizer_class"))
    elif cls != "own":
        edit(folder / "tokenizer_config.json", lambda c: c.update(tokenizer_class=cls))
    ours = load_tokenizer(folder)
    assert_equal(ours, transformers.AutoTokenizer.from_pretrained(folder))
    ours.save_pretrained(folder / "again")
    assert_equal(transformers.AutoTokenizer.from_pretrained(folder / "again"), ours)


@pytest.mark.parametrize("setting", [{}, {"add_prefix_space": True}, {"trim_offsets": False}])
def test_vocabulary_and_merges_without_a_tokenizer_json(
    tmp_path: Path, setting: dict[str, bool]
) -> None:
    folder = saved(tmp_path, "roberta")
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "".join(f"{a} {b}\n" for a, b in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    edit(folder / "tokenizer_config.json", lambda c: c.update(setting))
    assert_equal(load_tokenizer(folder), transformers.RobertaTokenizer.from_pretrained(folder))


BPE: dict[str, tuple[Change, str]] = {
    "dropout": (lambda c: c["model"].update(dropout=0.1), "model.dropout is 0.1, and jaxbert"),
    "suffix": (
        lambda c: c["model"].update(end_of_word_suffix="</w>"),
        "end_of_word_suffix is",
    ),
    "pre_tokenizer": (
        lambda c: c.update(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a|a)*$"}}),
        "pre_tokenizer is 'Split', which cannot be read; a tokenizer of BPE has ByteLevel",
    ),
    "WordPiece": (
        lambda c: c["model"].update(type="WordPiece"),
        "model is 'WordPiece', which cannot be read here; its class reads BPE",
    ),
    "normalizer": (
        lambda c: c.update(normalizer={"type": "Lowercase"}),
        "its normalizer is not the one that transformers' RobertaTokenizer puts in its place",
    ),
    "merges": (lambda c: c["model"].update(merges=["x"]), "its tokenizer cannot be read"),
    "an id twice": (lambda c: c["model"]["vocab"].update(x1=5, x2=5), "have the same id 5"),
}
UNIGRAM: dict[str, tuple[Change, str]] = {
    "scores": (
        lambda c: c["model"].update(vocab=[["<s>", "high"]]),
        "model.vocab cannot be read: not tokens with ids below",
    ),
    "unk_id": (lambda c: c["model"].update(unk_id=10**6), "model.unk_id is 1000000, no token's id"),
    "another unknown token": (lambda c: c["model"].update(unk_id=2), "model.unk_id is not 3"),
    "byte_fallback": (lambda c: c["model"].update(byte_fallback=True), "byte_fallback is True"),
    "a slow expression": (
        lambda c: c.update(
            normalizer={"type": "Replace", "pattern": {"Regex": "(a|a)*$"}, "content": "b"}
        ),
        "normalizer replaces {'Regex': '(a|a)*$'}, which is no text",
    ),
    "a damaged map of characters": (
        lambda c: c.update(
            normalizer={
                "type": "Precompiled",
                "precompiled_charsmap": base64.b64encode(b"\xff\xff\xff\x7f" * 3).decode(),
            }
        ),
        "its tokenizer cannot be read",
    ),
}


@pytest.mark.parametrize(
    ("family", "fault"),
    [*(("roberta", name) for name in BPE), *(("xlm-roberta", name) for name in UNIGRAM)],
)
def test_faults_are_refused_in_one_line(tmp_path: Path, family: str, fault: str) -> None:
    change, expected = (BPE | UNIGRAM)[fault]
    folder = saved(tmp_path, family)
    edit(folder / "tokenizer.json", change)
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder)
    message = str(caught.value)
    assert expected in message
    assert message.startswith(str(folder))
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "albert"])
def test_no_tokenizer_at_all(tmp_path: Path, family: str) -> None:
    folder = saved(tmp_path, family)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json.*save_pretrained\(DIR\) writes one"):
        load_tokenizer(folder)


def test_words_have_a_space_before_each(tmp_path: Path) -> None:
    folder = saved(tmp_path, "roberta")
    tokenizer, plain = load_tokenizer(folder, of_words=True), load_tokenizer(folder)
    assert tokenizer.encode("Anna") == plain.encode(" Anna") != plain.encode("Anna")
    tokenizer.save_pretrained(folder / "again")
    assert load_tokenizer(folder / "again").encode("Anna") == tokenizer.encode("Anna")
