"""The JSON files beside a vocabulary: their settings by name, and the ids they give to tokens.

transformers passes these files to a class as keyword arguments, whatever they are. Here each one
that changes the tokens is named with its type; what names code or other files is refused.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TypeAlias

from jaxbert.errors import InputError
from jaxbert.io.untrusted import read_object, shown

logger = logging.getLogger("jaxbert")

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

CONFIG = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"
ADDED = "added_tokens.json"

MOST_ADDED = 10_000
_LONGEST = 1_000  # characters of an added token

# Values of tokenizer_class that transformers reads as BERT's WordPiece, built from the vocabulary
# and the settings; a tokenizer.json gives no more than the vocabulary and the added tokens.
BERT_CLASSES = (
    "BertTokenizer",
    "BertTokenizerFast",
    "DistilBertTokenizer",
    "DistilBertTokenizerFast",
    "ElectraTokenizer",
    "ElectraTokenizerFast",
)
# Those that build the tokens of another family from the vocabulary and the settings.
OTHER_CLASSES = (
    "RobertaTokenizer",
    "RobertaTokenizerFast",
    "XLMRobertaTokenizer",
    "XLMRobertaTokenizerFast",
    "AlbertTokenizer",
    "AlbertTokenizerFast",
)
# And those that take the tokenizer.json as it is.
FILE_CLASSES = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")

_CLASSES = BERT_CLASSES + OTHER_CLASSES + FILE_CLASSES

_FLAGS = (
    "do_lower_case",
    "tokenize_chinese_chars",
    "split_special_tokens",
    "clean_up_tokenization_spaces",
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "trim_offsets",
    "keep_accents",
)
_SIDES = ("padding_side", "truncation_side")
_TOKEN_LISTS = ("additional_special_tokens", "extra_special_tokens")
_TOKEN_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")
# Settings of older versions that transformers 5 takes and does not use; the values that say so.
_WITHOUT_EFFECT: dict[str, tuple[Json, ...]] = {
    "do_basic_tokenize": (None, True),
    "never_split": (None, []),
}
_MOST_LENGTH = 1 << 20  # transformers writes 10**30 for "unknown"


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """What the JSON files beside a vocabulary say, checked.

    Attributes:
        tokenizer_class: of tokenizer_config.json, or else of config.json.
        model_type: of config.json; None without one.
        files: by name, the content that transformers may be given.
        ids: by the place that says so, tokens with their ids.
        model_max_length: None if it is not known.
    """

    tokenizer_class: str | None
    model_type: str | None
    files: dict[str, dict[str, Json]]
    ids: dict[str, dict[str, int]]
    model_max_length: int | None


def read_settings(folder: Path) -> TokenizerConfig:
    """The settings of a model folder.

    Raises:
        InputError: a setting has the wrong type, names code or another file, or is for something
            that jaxbert does not do.
    """
    raw = {name: _read(folder / name) for name in ("config.json", CONFIG, SPECIAL, ADDED)}
    config = raw[CONFIG] or {}
    _refuse_code_and_files(folder / CONFIG, config)
    kind = _tokenizer_class(folder, config, raw["config.json"] or {})
    files: dict[str, dict[str, Json]] = {}
    ids: dict[str, dict[str, int]] = {}
    for name in (CONFIG, SPECIAL):
        content = raw[name]
        if content is not None:
            files[name] = _settings(folder / name, content)
    decoder = config.get("added_tokens_decoder")
    if decoder is not None:
        place = f"{CONFIG}: added_tokens_decoder"
        ids[place] = _decoder_ids(folder / CONFIG, decoder)
        files[CONFIG]["added_tokens_decoder"] = decoder
    added = raw[ADDED]
    if added is not None:
        ids[ADDED] = _added_ids(folder / ADDED, added)
        files[ADDED] = added
    for name, harmless in _WITHOUT_EFFECT.items():
        if config.get(name) not in harmless:
            logger.warning(
                "%s: %s is %s, which has no effect, as in transformers 5",
                folder / CONFIG,
                name,
                shown(repr(config[name])),
            )
    model_type = (raw["config.json"] or {}).get("model_type")
    return TokenizerConfig(
        tokenizer_class=kind,
        model_type=model_type if isinstance(model_type, str) else None,
        files=files,
        ids=ids,
        model_max_length=_length(config),
    )


def _length(config: dict[str, Json]) -> int | None:
    length = config.get("model_max_length", config.get("max_len"))
    if isinstance(length, int) and not isinstance(length, bool) and 0 < length <= _MOST_LENGTH:
        return length
    return None


def _read(path: Path) -> dict[str, Json] | None:
    try:
        return read_object(path)
    except FileNotFoundError:
        return None


def _refuse_code_and_files(path: Path, config: dict[str, Json]) -> None:
    for name in ("auto_map", "trust_remote_code"):
        if config.get(name):
            raise InputError(
                f"{path}: {name} names code to be run, and jaxbert runs none that comes with a "
                "model; take a tokenizer of plain BERT"
            )
    if config.get("fast_tokenizer_files", ["tokenizer.json"]) != ["tokenizer.json"]:
        raise InputError(
            f"{path}: fast_tokenizer_files names several files, and jaxbert reads tokenizer.json "
            "only; leave that one and remove the setting"
        )
    if config.get("init_inputs"):
        raise InputError(f"{path}: init_inputs is not empty, and jaxbert takes none; remove it")


def _tokenizer_class(folder: Path, config: dict[str, Json], model: dict[str, Json]) -> str | None:
    """The class that transformers would choose, from the first file that names one."""
    for name, content in ((CONFIG, config), ("config.json", model)):
        kind = content.get("tokenizer_class")
        if kind is None:
            continue
        if not isinstance(kind, str) or kind not in _CLASSES:
            raise InputError(
                f"{folder / name}: tokenizer_class is {shown(repr(kind))}, and jaxbert reads those "
                "of BERT, RoBERTa, XLM-RoBERTa and ALBERT only (BertTokenizer, RobertaTokenizer, "
                "XLMRobertaTokenizer, AlbertTokenizer)"
            )
        return kind
    return None


def _settings(path: Path, raw: dict[str, Json]) -> dict[str, Json]:
    """The settings that change tokens, by the names of the tokenizers' arguments."""
    found: dict[str, Json] = {}
    for name, value in raw.items():
        if name in _FLAGS or (name == "strip_accents" and value is not None):
            if not isinstance(value, bool):
                raise InputError(
                    f"{path}: {name} is {shown(repr(value))}: it must be true or false"
                )
        elif name in _SIDES:
            _check_side(path, name, value)
        elif name in _TOKEN_LISTS:
            _check_tokens(path, name, value)
        elif name.endswith("_token") and value is not None:
            if isinstance(value, bool):  # add_bos_token and its like
                continue
            _check_token(path, name, value)
        elif not name.endswith("_token") and name != "strip_accents":
            continue
        found[name] = value
    return found


def _check_tokens(path: Path, name: str, value: Json) -> None:
    """A list of tokens, or an object of names and tokens."""
    tokens = list(value.values()) if isinstance(value, dict) else [] if value is None else value
    if not isinstance(tokens, list) or len(tokens) > MOST_ADDED:
        raise InputError(f"{path}: {name} is not a list of at most {MOST_ADDED} tokens")
    for token in tokens:
        _check_token(path, name, token)


def _check_side(path: Path, name: str, value: Json) -> None:
    if value not in ("left", "right"):
        raise InputError(f"{path}: {name} is {shown(repr(value))}: it must be left or right")
    if name == "truncation_side" and value == "left":
        raise InputError(
            f"{path}: truncation_side is 'left', and jaxbert cuts long texts at their end; set it "
            "to 'right' if that will do"
        )


def _check_token(path: Path, name: str, token: Json) -> str:
    """The text of a token: the token itself, or the content of an object with its flags."""
    content = token.get("content") if isinstance(token, dict) else token
    flags = token if isinstance(token, dict) else {}
    fits = isinstance(content, str) and 0 < len(content) <= _LONGEST and _is_text(content)
    for flag, value in flags.items():
        fits = fits and (
            flag in ("content", "id")
            or (flag == "__type" and value == "AddedToken")
            or (flag in _TOKEN_FLAGS and isinstance(value, bool))
        )
    if not isinstance(content, str) or not fits:
        raise InputError(f"{path}: {name} has {shown(repr(token))}, which is not a token")
    return content


def _is_text(value: str) -> bool:
    # A lone surrogate could not be written again.
    return not any("\ud800" <= c <= "\udfff" for c in value)


def _decoder_ids(path: Path, decoder: Json) -> dict[str, int]:
    name = "added_tokens_decoder"
    if not isinstance(decoder, dict) or len(decoder) > MOST_ADDED:
        raise InputError(f"{path}: {name} is not an object of at most {MOST_ADDED} tokens")
    ids: dict[str, int] = {}
    for number, token in decoder.items():
        if not number.isdecimal() or len(number) > 9 or not isinstance(token, dict):
            raise InputError(
                f"{path}: {name} has {shown(repr(number))}: {shown(repr(token))}; it must be of "
                'the form {"30522": {"content": "[E1]"}}'
            )
        ids[_check_token(path, name, token)] = int(number)
    return ids


def _added_ids(path: Path, added: dict[str, Json]) -> dict[str, int]:
    if len(added) > MOST_ADDED:
        raise InputError(f"{path}: it has more than {MOST_ADDED} tokens")
    ids: dict[str, int] = {}
    for token, number in added.items():
        _check_token(path, "it", token)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**9:
            raise InputError(
                f"{path}: {shown(repr(token))} has {shown(repr(number))}: the id of a token must "
                "be an integer from 0"
            )
        ids[token] = number
    return ids
