"""Parts of a tokenizer's folder, from which tests put odd ones together."""

from __future__ import annotations

from typing import Any

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *("[unused1]", "the", "The", "cafe", "café", "Café", "##s", "##é", "##e", "a", "A", "b", "e"),
    *("1", "##1", "[", "]", "/", ".", "##.", "茶", "叶", "茶叶", "##叶", "。", "new", "york"),
    *("New", "s", "l", "##l", "x", "<", ">", "ent", "Ent", "sep", "_", "##_", "entity"),
]
BASE = [*SPECIAL, *WORDS]
SIZE = len(BASE)
Files = dict[str, Any]
UNSET = object()


def config(**fields: Any) -> Files:
    return {"config.json": {"model_type": "bert", "vocab_size": SIZE + 10, **fields}}


def vocab(*words: str) -> Files:
    return {"vocab.txt": "".join(f"{w}\n" for w in (words or BASE))}


def settings(**fields: Any) -> Files:
    return {"tokenizer_config.json": fields}


def token(content: str, **flags: bool) -> dict[str, Any]:
    usual = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    return {"content": content, **usual, "special": True, **flags}


def added(content: str, number: int, **flags: bool) -> dict[str, Any]:
    return {"id": number, **token(content, **flags)}


def bert(**fields: Any) -> dict[str, Any]:
    usual = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
    return {"type": "BertNormalizer", **usual, "lowercase": True, **fields}


def template() -> dict[str, Any]:
    cls, sep = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]"))
    a, b = ({"Sequence": {"id": name, "type_id": n}} for n, name in enumerate("AB"))
    end = {"SpecialToken": {"id": "[SEP]", "type_id": 1}}
    names = {"[CLS]": 2, "[SEP]": 3}
    return {
        "type": "TemplateProcessing",
        "single": [cls, a, sep],
        "pair": [cls, a, sep, b, end],
        "special_tokens": {n: {"id": n, "ids": [i], "tokens": [n]} for n, i in names.items()},
    }


def file(words: list[str] = BASE, more: list[Any] | None = None, **fields: Any) -> Files:
    """A tokenizer.json as the BERT models have it."""
    vocabulary = {word: number for number, word in enumerate(words)}
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": vocabulary,
    }
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            *(added(t, vocabulary[t]) for t in SPECIAL if t in vocabulary),
            *(more or []),
        ],
        "normalizer": bert(),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template(),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": model,
    }
    content |= {k: v for k, v in fields.items() if not k.startswith("model__")}
    model |= {k.removeprefix("model__"): v for k, v in fields.items() if k.startswith("model__")}
    return {"tokenizer.json": content}


def decoder(*tokens: dict[str, Any], first: int = SIZE) -> dict[str, Any]:
    return {str(first + n): t for n, t in enumerate(tokens)}


E1, E2 = "[E1]", "[/E1]"
NAMES = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"]
NAMED = dict(zip(NAMES, SPECIAL, strict=True))
RENAMED = dict(zip(NAMES, "x/<>_", strict=True))
FAST = "PreTrainedTokenizerFast"
