"""Reads a tokenizer.json and checks that it is a BERT tokenizer: WordPiece and similar parts.

The format allows regular expressions that take years, padding to millions of tokens, and tokens
without a row in the model. So the allowed parts are listed here, and others are refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import read_object, shown

FileContent: TypeAlias = dict[str, Any]  # the parsed JSON of a tokenizer.json

MAX_BYTES = 32 << 20  # a million tokens
_MAX_IDS = 2_000_000
_MAX_ADDED = 10_000
_MAX_PIECES = 16  # of a template or sequence
_MAX_PREFIX = 16  # characters; it is copied for every part of a word that is tried
_MAX_WORD = 1_000  # max_input_chars_per_word: time is quadratic in a word's length

_ALLOWED_TYPES = {
    "normalizer": [
        "BertNormalizer",
        "Lowercase",
        "NFC",
        "NFD",
        "NFKC",
        "NFKD",
        "Strip",
        "StripAccents",
    ],
    "pre_tokenizer": [
        "BertPreTokenizer",
        "Whitespace",
        "WhitespaceSplit",
        "Punctuation",
        "Digits",
    ],
    "decoder": ["WordPiece"],
    "model": ["WordPiece"],
    "post_processor": ["TemplateProcessing", "BertProcessing"],
}
# BertTokenizer's arguments for its normalizer, with their defaults.
BERT_NORMALIZER: dict[str, bool | None] = {
    "do_lower_case": True,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
}
# Parts that may be a sequence of others.
_SEQUENCE_FIELDS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}


def read_tokenizer_json(path: Path, vocab_size: int | None) -> FileContent:
    """Read a tokenizer.json, without its truncation and padding.

    Args:
        vocab_size: rows of the model's embedding table, if known.

    Raises:
        InputError: it is not JSON, is too large, or has a part that no BERT tokenizer has.
    """
    raw = read_object(path, MAX_BYTES)
    for field, allowed in _ALLOWED_TYPES.items():
        part = raw.get(field)
        parts = [part]
        if isinstance(part, dict) and part.get("type") == "Sequence" and field in _SEQUENCE_FIELDS:
            nested = part.get(_SEQUENCE_FIELDS[field])
            if not isinstance(nested, list) or len(nested) > _MAX_PIECES:
                raise InputError(f"{path}: {field}: not a list of at most {_MAX_PIECES}")
            parts = nested
        for component in parts:
            if component is None and field != "model":
                continue
            part_type = component.get("type") if isinstance(component, dict) else None
            if part_type not in allowed:
                raise InputError(
                    f"{path}: {field} is {shown(repr(part_type or component))}, which cannot be "
                    f"read; a BERT tokenizer has {', '.join(allowed)}"
                )
    ids = _check_vocabulary(path, raw)
    check_rows(path.parent, max(ids.values(), default=0), vocab_size)
    _check_post_processor(path, raw.get("post_processor"), ids)
    return raw | {"truncation": None, "padding": None}


def added_ids(raw: FileContent) -> dict[str, int]:
    """The ids of the tokens that a tokenizer.json adds to its model's vocabulary."""
    return {token["content"]: token["id"] for token in raw.get("added_tokens") or []}


def parts_unlike_bert(raw: FileContent) -> dict[str, Json]:
    """The parts of a tokenizer.json, by name, that differ from those of BERT's tokenizer.

    transformers' BertTokenizer silently replaces them. The settings of BERT's normalizer are
    not among them: see normalizer_settings.
    """
    normalizer, model = raw.get("normalizer") or {}, raw["model"]
    parts = {
        "normalizer": (normalizer.get("type"), "BertNormalizer"),
        "normalizer.clean_text": (normalizer.get("clean_text", True), True),
        "pre_tokenizer": ((raw.get("pre_tokenizer") or {}).get("type"), "BertPreTokenizer"),
        "model.continuing_subword_prefix": (model.get("continuing_subword_prefix", "##"), "##"),
        "model.max_input_chars_per_word": (model.get("max_input_chars_per_word", 100), 100),
    }
    return {name: value for name, (value, expected) in parts.items() if value != expected}


def normalizer_settings(raw: FileContent) -> dict[str, bool | None]:
    """A BertNormalizer's settings, by the names of BertTokenizer's arguments; {} for any other."""
    normalizer = raw.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer":
        return {}
    return {
        "do_lower_case": normalizer.get("lowercase", True),
        "strip_accents": normalizer.get("strip_accents"),
        "tokenize_chinese_chars": normalizer.get("handle_chinese_chars", True),
    }


def check_rows(folder: Path, highest: int, vocab_size: int | None) -> None:
    """Check that the model has a row for the highest id, if its rows are known."""
    if vocab_size and highest >= vocab_size:
        raise InputError(
            f"{folder}: the tokenizer has ids up to {highest}, but config.json's vocab_size is "
            f"{vocab_size}; they do not belong together"
        )


def _check_vocabulary(path: Path, raw: FileContent) -> dict[str, int]:
    """The ids of all tokens, including added ones."""
    model, added = raw["model"], raw.get("added_tokens") or []
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not all(_is_id(token_id) for token_id in vocab.values()):
        raise InputError(
            f"{path}: model.vocab cannot be read: not tokens with ids below {_MAX_IDS}"
        )
    longest = model.get("max_input_chars_per_word", 100)
    if isinstance(longest, bool) or not isinstance(longest, int) or not 1 <= longest <= _MAX_WORD:
        raise InputError(
            f"{path}: model.max_input_chars_per_word is {shown(repr(longest))}: it must be an "
            f"integer from 1 to {_MAX_WORD}; BERT's is 100"
        )
    decoder = raw.get("decoder") or {}
    for field, prefix in (
        ("model.continuing_subword_prefix", model.get("continuing_subword_prefix", "##")),
        ("decoder.prefix", decoder.get("prefix", "##")),
    ):
        if not isinstance(prefix, str) or len(prefix) > _MAX_PREFIX:
            raise InputError(
                f"{path}: {field} is {shown(repr(prefix))}: it must be a text of at most "
                f"{_MAX_PREFIX} characters; BERT's is '##'"
            )
    if not isinstance(added, list) or len(added) > _MAX_ADDED:
        raise InputError(f"{path}: added_tokens cannot be read: not a list of at most {_MAX_ADDED}")
    ids = dict(vocab)
    for token in added:
        content = token.get("content") if isinstance(token, dict) else None
        if not isinstance(content, str) or not _is_id(token.get("id")):
            raise InputError(f"{path}: added_tokens cannot be read: {shown(repr(token))}")
        ids[content] = token["id"]
    tokens: dict[int, str] = {}
    for content, token_id in ids.items():
        other = tokens.setdefault(token_id, content)
        if other != content:
            raise InputError(
                f"{path}: {shown(repr(other))} and {shown(repr(content))} have the same id "
                f"{token_id}"
            )
    # The model looks in its own vocabulary. If there is no [UNK] at all, load_tokenizer reports it.
    unknown = model.get("unk_token", "[UNK]")
    known = isinstance(unknown, str) and (unknown in vocab or "[UNK]" == unknown not in ids)
    if not known:
        raise InputError(
            f"{path}: model.unk_token is {shown(repr(unknown))}, which model.vocab does not have"
        )
    return ids


def _check_post_processor(path: Path, part: Any, ids: dict[str, int]) -> None:
    """Check that it adds few tokens, all with their ids in the vocabulary."""
    if part is None:
        return
    try:
        if part["type"] == "BertProcessing":
            pairs = [tuple(part["cls"]), tuple(part["sep"])]
        else:
            pieces = [*part["single"], *part["pair"]]
            types = {value["type_id"] for piece in pieces for value in piece.values()}
            if len(pieces) > _MAX_PIECES or not types <= {0, 1}:
                raise ValueError("too many pieces, or segments other than 0 and 1")
            tokens = part["special_tokens"].values()
            pairs = [
                pair for group in tokens for pair in zip(group["tokens"], group["ids"], strict=True)
            ]
        for token, token_id in pairs:
            if ids.get(token) != token_id:
                raise ValueError(f"the token {token!r} does not have the id {token_id!r}")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: post_processor cannot be read ({shown(error)})") from None


def _is_id(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_IDS
