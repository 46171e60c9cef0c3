"""Reads a tokenizer.json and checks that it is one of a family: WordPiece and similar parts, the
byte-level BPE of RoBERTa, or the Unigram of XLM-RoBERTa.

The format allows regular expressions that take years, padding to millions of tokens, and tokens
without a row in the model. So the allowed parts are listed here, and others are refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import read_object, shown

Tokens = Literal["WordPiece", "BPE", "Unigram"]  # the type of its model
FileContent: TypeAlias = dict[str, Any]  # the parsed JSON of a tokenizer.json

MAX_BYTES = 32 << 20  # a million tokens
_MAX_IDS = 2_000_000
_MAX_ADDED = 10_000
_MAX_PIECES = 16  # of a template or sequence
_MAX_PREFIX = 16  # characters; it is copied for every part of a word that is tried
_MAX_WORD = 1_000  # max_input_chars_per_word: time is quadratic in a word's length

_UNICODE = ["Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Strip", "StripAccents"]
_TEMPLATES = ["TemplateProcessing", "BertProcessing", "RobertaProcessing"]
# By the model's type.
_ALLOWED_TYPES: dict[Tokens, dict[str, list[str]]] = {
    "WordPiece": {
        "normalizer": ["BertNormalizer", *_UNICODE],
        "pre_tokenizer": [
            "BertPreTokenizer",
            "Whitespace",
            "WhitespaceSplit",
            "Punctuation",
            "Digits",
        ],
        "decoder": ["WordPiece"],
        "post_processor": _TEMPLATES[:2],
    },
    "BPE": {
        "normalizer": _UNICODE,
        "pre_tokenizer": ["ByteLevel"],
        "decoder": ["ByteLevel"],
        "post_processor": _TEMPLATES,
    },
    "Unigram": {
        "normalizer": ["Precompiled", "Replace", *_UNICODE],
        "pre_tokenizer": ["WhitespaceSplit", "Metaspace"],
        "decoder": ["Metaspace"],
        "post_processor": _TEMPLATES,
    },
}
# What else a model may say, by its type: it draws nothing and has no other bytes.
_MODEL_FIELDS: dict[Tokens, dict[str, tuple[Json, ...]]] = {
    "WordPiece": {},
    "BPE": {
        "dropout": (None, 0.0),
        "continuing_subword_prefix": (None, ""),
        "end_of_word_suffix": (None, ""),
        "byte_fallback": (None, False),
        "ignore_merges": (None, False),
    },
    "Unigram": {"byte_fallback": (None, False)},
}
# BertTokenizer's arguments for its normalizer, with their defaults.
BERT_NORMALIZER: dict[str, bool | None] = {
    "do_lower_case": True,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
}
# Parts that may be a sequence of others.
_SEQUENCE_FIELDS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}


def read_tokenizer_json(
    path: Path, vocab_size: int | None, kind: Tokens | None = None
) -> FileContent:
    """Read a tokenizer.json, without its truncation and padding.

    Args:
        vocab_size: rows of the model's embedding table, if known.
        kind: what its model must be; None for any.

    Raises:
        InputError: it is not JSON, is too large, or has a part that no BERT tokenizer has.
    """
    raw = read_object(path, MAX_BYTES)
    model = raw.get("model")
    found = model.get("type") if isinstance(model, dict) else model
    known = [kind] if kind else list(_ALLOWED_TYPES)
    tokens = next((name for name in known if name == found), None)
    if tokens is None or not isinstance(model, dict):
        raise InputError(
            f"{path}: model is {shown(repr(found))}, which cannot be read here; "
            f"{'its class reads' if kind else 'there are'} {', '.join(known)}"
        )
    for field, values in _MODEL_FIELDS[tokens].items():
        if model.get(field) not in values:
            raise InputError(
                f"{path}: model.{field} is {shown(repr(model[field]))}, and jaxbert takes "
                f"{values[-1]!r} only"
            )
    for field, allowed in _ALLOWED_TYPES[tokens].items():
        part = raw.get(field)
        parts = [part]
        if isinstance(part, dict) and part.get("type") == "Sequence" and field in _SEQUENCE_FIELDS:
            nested = part.get(_SEQUENCE_FIELDS[field])
            if not isinstance(nested, list) or len(nested) > _MAX_PIECES:
                raise InputError(f"{path}: {field}: not a list of at most {_MAX_PIECES}")
            parts = nested
        for component in parts:
            if component is None:
                continue
            part_type = component.get("type") if isinstance(component, dict) else None
            if part_type not in allowed:
                raise InputError(
                    f"{path}: {field} is {shown(repr(part_type or component))}, which cannot be "
                    f"read; a tokenizer of {tokens} has {', '.join(allowed)}"
                )
            if part_type == "Replace":
                _check_replacement(path, component)
    _check_words(path, raw)
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


def _check_words(path: Path, raw: FileContent) -> None:
    """Check how WordPiece cuts a word; other models say nothing of that."""
    model = raw["model"]
    if model["type"] != "WordPiece":
        return
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


def _vocabulary_of(path: Path, model: FileContent) -> dict[str, int]:
    """The ids of a model's own tokens; Unigram lists them in their order, each with its score."""
    vocab = model.get("vocab")
    if model["type"] == "Unigram" and isinstance(vocab, list) and len(vocab) <= _MAX_IDS:
        pairs = [pair for pair in vocab if isinstance(pair, list) and len(pair) == 2]
        names = [name for name, score in pairs if isinstance(name, str) and _is_score(score)]
        if len(names) == len(vocab):
            return {name: number for number, name in enumerate(names)}
    elif isinstance(vocab, dict) and all(_is_id(token_id) for token_id in vocab.values()):
        return vocab
    raise InputError(f"{path}: model.vocab cannot be read: not tokens with ids below {_MAX_IDS}")


def _check_vocabulary(path: Path, raw: FileContent) -> dict[str, int]:
    """The ids of all tokens, including added ones."""
    model, added = raw["model"], raw.get("added_tokens") or []
    vocab = _vocabulary_of(path, model)
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
    if model["type"] == "Unigram":
        unknown_id = model.get("unk_id")
        if not _is_id(unknown_id) or unknown_id >= len(vocab):
            raise InputError(f"{path}: model.unk_id is {shown(repr(unknown_id))}, no token's id")
    if model["type"] != "WordPiece":
        return ids
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
        if part["type"] in ("BertProcessing", "RobertaProcessing"):
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


def _check_replacement(path: Path, part: FileContent) -> None:
    """Refuse regular expressions, which may take years."""
    pattern = part.get("pattern")
    plain = isinstance(pattern, dict) and pattern.keys() == {"String"}
    if not plain and pattern != {"Regex": " {2,}"}:
        raise InputError(f"{path}: normalizer replaces {shown(repr(pattern))}, which is no text")


def _is_score(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_id(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_IDS
