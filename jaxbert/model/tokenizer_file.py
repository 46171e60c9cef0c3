"""tokenizer.json -> the same, once it is known to be a BERT tokenizer: WordPiece and its like.

The format can hold regular expressions that take years, padding to millions of tokens and tokens
that the model has no row for. So what is let in is named here, and all else is refused by its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import read_object, shown

FileContent: TypeAlias = dict[str, Any]  # of a tokenizer.json, as JSON gives it

MOST = 32 << 20  # bytes; a million tokens
_IDS = 2_000_000
_ADDED = 10_000
_PIECES = 16  # of a template
_PREFIX = 16  # characters; it is copied for every part of a word that is tried
_LONGEST = 1_000  # max_input_chars_per_word: the time for a word is its square

_KINDS = {
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
# Those that may be a list of others.
_LISTS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}


def read_tokenizer_json(path: Path, vocab_size: int | None) -> FileContent:
    """The content of a tokenizer.json, without truncation and padding.

    Args:
        vocab_size: rows of the model's embedding table, if they are known.

    Raises:
        InputError: it is not JSON, too large, or holds something that no BERT tokenizer does.
    """
    raw = read_object(path, MOST)
    for field, kinds in _KINDS.items():
        part = raw.get(field)
        parts = [part]
        if isinstance(part, dict) and part.get("type") == "Sequence" and field in _LISTS:
            nested = part.get(_LISTS[field])
            if not isinstance(nested, list) or len(nested) > _PIECES:
                raise InputError(f"{path}: {field}: not a list of at most {_PIECES}")
            parts = nested
        for one in parts:
            if one is None and field != "model":
                continue
            kind = one.get("type") if isinstance(one, dict) else None
            if kind not in kinds:
                raise InputError(
                    f"{path}: {field} is {shown(repr(kind or one))}, which cannot be read; a BERT "
                    f"tokenizer has {', '.join(kinds)}"
                )
    ids = _check_vocabulary(path, raw)
    check_rows(path.parent, max(ids.values(), default=0), vocab_size)
    _check_post_processor(path, raw.get("post_processor"), ids)
    return raw | {"truncation": None, "padding": None}


def added_ids(raw: FileContent) -> dict[str, int]:
    """The ids of the tokens that a tokenizer.json adds to its model's vocabulary."""
    return {token["content"]: token["id"] for token in raw.get("added_tokens") or []}


def parts_unlike_bert(raw: FileContent) -> dict[str, Json]:
    """The parts of a tokenizer.json, by name, that BERT's tokenizer has with another value.

    transformers' BertTokenizer replaces them without a word. The settings of BERT's normalizer are
    not among them: see normalizer_settings.
    """
    normalizer, model = raw.get("normalizer") or {}, raw["model"]
    found = {
        "normalizer": (normalizer.get("type"), "BertNormalizer"),
        "normalizer.clean_text": (normalizer.get("clean_text", True), True),
        "pre_tokenizer": ((raw.get("pre_tokenizer") or {}).get("type"), "BertPreTokenizer"),
        "model.continuing_subword_prefix": (model.get("continuing_subword_prefix", "##"), "##"),
        "model.max_input_chars_per_word": (model.get("max_input_chars_per_word", 100), 100),
    }
    return {name: value for name, (value, of_bert) in found.items() if value != of_bert}


def normalizer_settings(raw: FileContent) -> dict[str, bool | None]:
    """What a BertNormalizer does, by the names of BertTokenizer's arguments; {} for another."""
    normalizer = raw.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer":
        return {}
    return {
        "do_lower_case": normalizer.get("lowercase", True),
        "strip_accents": normalizer.get("strip_accents"),
        "tokenize_chinese_chars": normalizer.get("handle_chinese_chars", True),
    }


def check_rows(folder: Path, highest: int, vocab_size: int | None) -> None:
    """Hold that the model has a row for the highest id, where its rows are known."""
    if vocab_size and highest >= vocab_size:
        raise InputError(
            f"{folder}: the tokenizer has ids up to {highest}, and config.json's vocab_size is "
            f"{vocab_size}; they do not belong together"
        )


def _check_vocabulary(path: Path, raw: FileContent) -> dict[str, int]:
    """The ids of all tokens, those added to the vocabulary too."""
    model, added = raw["model"], raw.get("added_tokens") or []
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not all(_is_id(number) for number in vocab.values()):
        raise InputError(f"{path}: model.vocab cannot be read: not tokens with ids below {_IDS}")
    longest = model.get("max_input_chars_per_word", 100)
    if isinstance(longest, bool) or not isinstance(longest, int) or not 1 <= longest <= _LONGEST:
        raise InputError(
            f"{path}: model.max_input_chars_per_word is {shown(repr(longest))}: it must be an "
            f"integer from 1 to {_LONGEST}; BERT's is 100"
        )
    decoder = raw.get("decoder") or {}
    for field, prefix in (
        ("model.continuing_subword_prefix", model.get("continuing_subword_prefix", "##")),
        ("decoder.prefix", decoder.get("prefix", "##")),
    ):
        if not isinstance(prefix, str) or len(prefix) > _PREFIX:
            raise InputError(
                f"{path}: {field} is {shown(repr(prefix))}: it must be a text of at most "
                f"{_PREFIX} characters; BERT's is '##'"
            )
    if not isinstance(added, list) or len(added) > _ADDED:
        raise InputError(f"{path}: added_tokens cannot be read: not a list of at most {_ADDED}")
    ids = dict(vocab)
    for token in added:
        content = token.get("content") if isinstance(token, dict) else None
        if not isinstance(content, str) or not _is_id(token.get("id")):
            raise InputError(f"{path}: added_tokens cannot be read: {shown(repr(token))}")
        ids[content] = token["id"]
    tokens: dict[int, str] = {}
    for content, number in ids.items():
        other = tokens.setdefault(number, content)
        if other != content:
            raise InputError(
                f"{path}: {shown(repr(other))} and {shown(repr(content))} have the same id {number}"
            )
    # The model looks in its own vocabulary. Where there is no [UNK] at all, load_tokenizer says so.
    unknown = model.get("unk_token", "[UNK]")
    known = isinstance(unknown, str) and (unknown in vocab or "[UNK]" == unknown not in ids)
    if not known:
        raise InputError(
            f"{path}: model.unk_token is {shown(repr(unknown))}, which model.vocab does not have"
        )
    return ids


def _check_post_processor(path: Path, part: Any, ids: dict[str, int]) -> None:
    """Hold that the tokens it adds are few and those of the vocabulary."""
    if part is None:
        return
    try:
        if part["type"] == "BertProcessing":
            pairs = [tuple(part["cls"]), tuple(part["sep"])]
        else:
            pieces = [*part["single"], *part["pair"]]
            types = {value["type_id"] for piece in pieces for value in piece.values()}
            if len(pieces) > _PIECES or not types <= {0, 1}:
                raise ValueError("too many pieces, or segments other than 0 and 1")
            tokens = part["special_tokens"].values()
            pairs = [p for t in tokens for p in zip(t["tokens"], t["ids"], strict=True)]
        for token, number in pairs:
            if ids.get(token) != number:
                raise ValueError(f"the token {token!r} has not the id {number!r}")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: post_processor cannot be read ({shown(error)})") from None


def _is_id(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _IDS
