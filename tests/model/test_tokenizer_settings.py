"""Odd tokenizer folders: the ids of transformers' AutoTokenizer, or refused by the setting's name.

Every row of the table is a folder. AutoTokenizer is the oracle: for texts, pairs and lists of
words, ids and offsets are equal, and so they are after saving, under both.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from odd_tokenizers import EQUAL, REFUSED
from tokenizer_parts import (
    SIZE,
    SPECIAL,
    Files,
    config,
    file,
    settings,
    vocab,
)

from jaxbert.data.features import tokenize
from jaxbert.errors import InputError
from jaxbert.model.folders import _HUB_FILES
from jaxbert.model.tokenizer import load_tokenizer

TEXTS = [
    "The Café cafés THE the a",
    "Cafe\u0301s CAFÉ",
    "茶叶。the茶 叶",
    "🍵 ab a🍵b",
    "[E1] New York [/E1] the [E1] a[E1]b [e1] [E2]b",
    "<ent> New </ent> the<ent>a <ENT>",
    "a\tb\u200bc\0d \ufffd e\u3000the\r\nthe",
    "x" * 120 + " the " + "x" * 50,
    "[SEP] in the text, [MASK] . [sep] [unused1]",
    "entity_1 the_ new_york  a.",
    "",
]


def write(folder: Path, files: Files) -> Path:
    folder.mkdir()
    for name, content in (config() | files).items():
        if isinstance(content, str):
            content = content.encode()
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        (folder / name).write_bytes(content)
    return folder


def size(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text())["vocab_size"])


def encodings(tokenizer: Any) -> Iterator[tuple[Any, Any]]:
    """Ids and offsets of every text alone, with the next one as a pair, and as a list of words."""
    for text, other in zip(TEXTS, [*TEXTS[1:], TEXTS[0]], strict=True):
        calls = [(text,), (text, other), ([text.split() or ["a"]],)]
        for n, call in enumerate(calls):
            found = tokenizer(
                *call, is_split_into_words=n == 2, return_offsets_mapping=True, verbose=False
            )
            yield found["input_ids"], found["offset_mapping"]


@pytest.mark.filterwarnings("ignore")  # transformers' own
@pytest.mark.parametrize("files", EQUAL.values(), ids=list(EQUAL))
def test_ids_are_those_of_transformers(tmp_path: Path, files: Files) -> None:
    folder = write(tmp_path / "model", files)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    expected = list(encodings(theirs))
    tokenizer = load_tokenizer(folder, vocab_size=size(folder))
    assert list(encodings(tokenizer)) == expected
    # As the tasks call it: texts, and words one by one, without special tokens.
    for text in TEXTS:
        usual = {"add_special_tokens": False, "verbose": False}
        assert tokenize(tokenizer, [text])[text].ids.tolist() == theirs(text, **usual)["input_ids"]
        words = text.split()
        found = tokenize(tokenizer, words or ["a"])
        ids = theirs(words or ["a"], is_split_into_words=True, **usual)["input_ids"]
        assert [i for word in words or ["a"] for i in found[word].ids] == ids
    # Not less of the folder is left out than was read.
    tokenizer.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_bytes((folder / "config.json").read_bytes())
    for again in (
        load_tokenizer(tmp_path / "saved", vocab_size=size(folder)),
        transformers.AutoTokenizer.from_pretrained(tmp_path / "saved"),
    ):
        assert list(encodings(again)) == expected
        assert again("a", "b")["token_type_ids"] == [0, 0, 0, 1, 1]
        assert again.special_tokens_map == tokenizer.special_tokens_map
        assert again.model_max_length == tokenizer.model_max_length
    saved = (tmp_path / "saved" / "tokenizer_config.json").read_text()
    assert str(tmp_path) not in saved
    assert "/elsewhere" not in saved


@pytest.mark.parametrize(("files", "expected"), REFUSED.values(), ids=list(REFUSED))
def test_refused_by_name(tmp_path: Path, files: Files, expected: str) -> None:
    folder = write(tmp_path / "model", files)
    with pytest.raises(InputError, match=expected) as caught:
        load_tokenizer(folder, vocab_size=size(folder))
    assert str(caught.value).startswith(str(folder))
    assert len(str(caught.value)) < 500
    assert len(str(caught.value).splitlines()) == 1


def test_the_texts_tell_the_settings_apart(tmp_path: Path) -> None:
    """Else the table would hold nothing."""
    names = ["vocab alone", "cased", "uncased, accents kept", "cased, accents stripped"]
    names += ["Chinese not split", "decoder", "decoder, normalized", "decoder, lstrip"]
    names += [
        "decoder, rstrip",
        "decoder, single words",
        "split_special_tokens",
        "specials renamed",
    ]
    names += ["tokenizer.json taken whole, another normalizer", "added_tokens.json"]
    names += ["tokenizer.json taken whole, other words", "a blank line", "a line twice"]
    found = [
        list(encodings(load_tokenizer(write(tmp_path / str(n), EQUAL[name]))))
        for n, name in enumerate(names)
    ]
    same = [(a, b) for a in range(len(names)) for b in range(a) if found[a] == found[b]]
    assert [(names[a], names[b]) for a, b in same] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no basic tokenizer", "do_basic_tokenize is False, which has no effect"),
        ("never_split", r"never_split is ['[E1]'], which has no effect"),
        ("tokenizer.json lowercases, settings do not", "do_lower_case false is used"),
        ("tokenizer.json taken whole beside do_lower_case", "do_lower_case is ignored"),
        ("tokenizer.json", None),
        ("harmless extras", None),
    ],
)
def test_what_is_not_followed_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, expected: str | None
) -> None:
    logging.getLogger("jaxbert").propagate = True
    load_tokenizer(write(tmp_path / "model", EQUAL[name]))
    if expected is None:
        assert not caplog.messages
    else:
        (message,) = caplog.messages
        assert expected in message
        assert message.startswith(f"{tmp_path / 'model' / 'tokenizer_config.json'}: ")


def test_a_file_of_200_megabytes(tmp_path: Path) -> None:
    for name in ("added_tokens.json", "special_tokens_map.json"):
        folder = write(tmp_path / name, vocab() | {name: {}})
        os.truncate(folder / name, 200 << 20)
        with pytest.raises(InputError, match=f"{name}: it has 209715200 bytes"):
            load_tokenizer(folder)


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    for name in ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"):
        folder = write(tmp_path / name, vocab())
        (tmp_path / f"outside {name}").write_text("{}")
        (folder / name).symlink_to(tmp_path / f"outside {name}")
        with pytest.raises(InputError, match=f"{name}: a link that leads out of the folder"):
            load_tokenizer(folder)


def test_files_that_name_others_are_not_followed(tmp_path: Path) -> None:
    """transformers opens what some settings name; here they do nothing."""
    other = write(tmp_path / "other", vocab(*SPECIAL, "a") | file([*SPECIAL, "a"]))
    named = {
        "vocab_file": str(other / "vocab.txt"),
        "tokenizer_file": str(other / "tokenizer.json"),
        "vocab": str(other / "vocab.txt"),
        "special_tokens_map_file": str(other / "config.json"),
        "name_or_path": str(other),
        "gguf_file": str(other / "x.gguf"),
    }
    for n, files in enumerate((vocab(), file())):
        folder = write(tmp_path / str(n), files | settings(**named))
        assert len(load_tokenizer(folder)) == SIZE


def test_the_hub_is_asked_for_every_file_that_is_read() -> None:
    read = {"tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"}
    assert {*read, "added_tokens.json", "config.json"} <= set(_HUB_FILES)
