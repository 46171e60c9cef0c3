"""Tokenizers from vocab.txt and tokenizer.json, and saved ones as transformers opens them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from conftest import DEMO, TINY, tiny_vocabulary
from tokenizers import BertWordPieceTokenizer, Tokenizer, normalizers

from jaxbert.errors import InputError
from jaxbert.model.tokenizer import load_tokenizer, refused_in_one_line

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*"abcdefghij", "the", "The", "cafe", "café", "Café", "##s", "##e", "茶", "。", "茶叶"]
TEXTS = [
    "The thes THE the",
    "café Café cafe CAFE Cafe\u0301s",
    "茶叶。the茶",
    "a\tb\u200bc\0d \ufffd e\u3000f",
    "[SEP] in the text, [MASK]",
    "x" * 150,
    "",
    "🍵 ab",
]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"do_lower_case": True},
    {"do_lower_case": False},
    {"do_lower_case": False, "strip_accents": True},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "tokenize_chinese_chars": False},
]


def make(folder: Path, vocabulary: list[str] | None = None, **settings: Any) -> Path:
    """A folder of a vocab.txt, and of a tokenizer_config.json where there are settings."""
    folder.mkdir(parents=True, exist_ok=True)
    words = vocabulary if vocabulary is not None else [*SPECIAL, *WORDS]
    (folder / "vocab.txt").write_text("".join(f"{w}\n" for w in words), encoding="utf-8")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def encoded(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return encoding.ids, encoding.offsets


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder, **options)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_vocab_is_read_as_wordpiece_and_saved_for_transformers(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = make(tmp_path / "vocab", **settings)
    expected = BertWordPieceTokenizer(
        str(folder / "vocab.txt"),
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    tokenizer = load_tokenizer(folder, vocab_size=len(SPECIAL) + len(WORDS))
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == "BertTokenizer"
    assert saved["do_lower_case"] is settings.get("do_lower_case", True)
    # A folder with tokenizer.json alone, as others have it, has the settings in there.
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "tokenizer.json").write_bytes(
        (tmp_path / "saved" / "tokenizer.json").read_bytes()
    )
    (tmp_path / "saved" / "config.json").write_text('{"model_type": "bert"}')
    again = load_tokenizer(tmp_path / "json")
    again.save_pretrained(tmp_path / "again")
    opened = [
        load_tokenizer(tmp_path / "saved"),
        again,
        transformers.AutoTokenizer.from_pretrained(tmp_path / "saved"),
        transformers.AutoTokenizer.from_pretrained(tmp_path / "again"),
    ]
    for text in TEXTS:
        ids, offsets = encoded(expected, text)
        assert encoded(tokenizer.backend_tokenizer, text) == (ids, offsets)
        for other in opened:
            assert encoded(other.backend_tokenizer, text) == (ids, offsets)
    for other in opened[2:]:
        assert type(other) is transformers.BertTokenizer
        assert other.model_max_length == 512
        pair = other("the", "a b")
        assert pair["input_ids"] == tokenizer("the", "a b")["input_ids"]
        assert pair["token_type_ids"] == [0, 0, 0, 1, 1, 1]


def test_cased_and_uncased_differ(tmp_path: Path) -> None:
    cased = load_tokenizer(make(tmp_path / "cased", do_lower_case=False))
    uncased = load_tokenizer(make(tmp_path / "uncased"))
    assert cased.tokenize("The Café") == ["The", "Café"]
    assert uncased.tokenize("The Café") == ["the", "cafe"]


def test_settings_of_tokenizer_json_win_without_a_config(tmp_path: Path) -> None:
    """As AutoTokenizer has it where no file says BERT; see test_tokenizer_settings for the rest."""
    load_tokenizer(make(tmp_path / "cased", do_lower_case=False)).save_pretrained(tmp_path / "a")
    (tmp_path / "a" / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    load_tokenizer(tmp_path / "a").save_pretrained(tmp_path / "b")
    reopened = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
    assert reopened.tokenize("The Café") == ["The", "Café"]


def test_normalizer_of_another_kind_is_kept(tmp_path: Path) -> None:
    inner = BertWordPieceTokenizer(str(make(tmp_path / "a") / "vocab.txt"))._tokenizer
    inner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    (tmp_path / "b").mkdir()
    inner.save(str(tmp_path / "b" / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path / "b")
    assert tokenizer.tokenize("Cafe\u0301 THE") == ["café", "the"]


def test_special_tokens_and_length(tiny_folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_folder, vocab_size=TINY.vocab_size)
    assert [
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
        tokenizer.mask_token_id,
    ] == [0, 1, 2, 3, 4]
    assert len(tokenizer) == len(tiny_vocabulary())
    assert tokenizer("who", "is")["input_ids"][::2] == [2, 3, 3]
    for value, expected in [(128, 128), (10**30, 512), (None, 512), ("x", 512)]:
        folder = make(tmp_path / "a", model_max_length=value)
        assert load_tokenizer(folder).model_max_length == expected
    text = json.loads((DEMO / "qa_en_dev.json").read_text())["data"][0]["paragraphs"][0]["context"]
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


def test_vocab_with_windows_line_ends(tmp_path: Path) -> None:
    folder = make(tmp_path / "a")
    expected = load_tokenizer(folder).get_vocab()
    (folder / "vocab.txt").write_bytes((folder / "vocab.txt").read_bytes().replace(b"\n", b"\r\n"))
    assert load_tokenizer(folder).get_vocab() == expected


@pytest.mark.parametrize("vocab_size", [None, 30, 512])
@pytest.mark.parametrize("token", SPECIAL)
def test_missing_special_token(tmp_path: Path, token: str, vocab_size: int | None) -> None:
    """Also where the model has rows beyond the vocabulary, so that the added token would fit."""
    words = [w for w in [*SPECIAL, *WORDS] if w != token]
    message = refusal(make(tmp_path / "a", words), vocab_size=vocab_size)
    assert token in message or f"{token[1:-1].lower()}_token not found" in message
    inner = Tokenizer.from_str(
        BertWordPieceTokenizer(str(make(tmp_path / "b") / "vocab.txt"))._tokenizer.to_str()
    )
    content = json.loads(inner.to_str())
    del content["model"]["vocab"][token]
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] != token]
    content["post_processor"] = None  # it would name a token that is not there
    (tmp_path / "b" / "tokenizer.json").write_text(json.dumps(content))
    assert f"the tokenizer has no {token}; BERT needs" in refusal(tmp_path / "b")


def test_ids_beyond_the_vocabulary_of_the_model(tmp_path: Path) -> None:
    folder = make(tmp_path / "a")
    size = len(SPECIAL) + len(WORDS)
    load_tokenizer(folder, vocab_size=size)
    message = refusal(folder, vocab_size=size - 1)
    assert f"ids up to {size - 1}" in message
    assert f"vocab_size is {size - 1}" in message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"[" * 10_000,
        b"\xff\xfe",
        b'{"version": "1.0", "model": {"type": "WordPiece", "vocab": {}}}',
        b'{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}',
        b'{"version": "9.9"}',
    ],
)
def test_damaged_tokenizer_json(tmp_path: Path, content: bytes) -> None:
    folder = make(tmp_path / "a")  # its vocab.txt is not taken instead
    (folder / "tokenizer.json").write_bytes(content)
    assert "cannot be read" in refusal(folder)


def test_truncated_tokenizer_json(tmp_path: Path) -> None:
    load_tokenizer(make(tmp_path / "a")).save_pretrained(tmp_path / "b")
    whole = (tmp_path / "b" / "tokenizer.json").read_bytes()
    for part in (len(whole) // 3, len(whole) // 2, len(whole) - 2):
        (tmp_path / "b" / "tokenizer.json").write_bytes(whole[:part])
        assert "cannot be read" in refusal(tmp_path / "b")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n", b"the\n"])
def test_damaged_vocab(tmp_path: Path, content: bytes) -> None:
    folder = make(tmp_path / "a")
    (folder / "vocab.txt").write_bytes(content)
    refusal(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "[" * 50_000, "9" * 5000, "\xff"])
def test_damaged_tokenizer_config(tmp_path: Path, content: str) -> None:
    folder = make(tmp_path / "a")
    (folder / "tokenizer_config.json").write_text(content, encoding="latin-1")
    assert "tokenizer_config.json: " in refusal(folder)


def test_no_tokenizer(tmp_path: Path) -> None:
    assert "no tokenizer.json and no vocab.txt" in refusal(tmp_path)
    assert "no tokenizer.json and no vocab.txt" in refusal(tmp_path / "none")


def test_a_panic_of_the_rust_library_is_one_line() -> None:
    """Which of a file's faults makes it panic depends on the order of its hash maps."""

    class PanicException(BaseException):
        pass

    with pytest.raises(InputError) as caught, refused_in_one_line(Path("bert")):
        raise PanicException("no entry found for key")
    assert str(caught.value) == "bert: its tokenizer cannot be read (no entry found for key)"
    with pytest.raises(KeyboardInterrupt), refused_in_one_line(Path("bert")):
        raise KeyboardInterrupt
