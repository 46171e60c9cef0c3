"""Loads a BERT tokenizer from a model folder, with the same ids as transformers' AutoTokenizer.

transformers' classes read the folder, so all settings have the same effect. They read copies: files
in a folder may be links, or name code and other files. AutoTokenizer itself imports PyTorch if
installed; the classes that it would choose do not.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Stops transformers from warning at import that PyTorch is missing; it is not needed here.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

from transformers import BertTokenizer
from transformers import PreTrainedTokenizerFast as PreTrainedTokenizerFast

from jaxbert.errors import InputError
from jaxbert.io.untrusted import check_file, shown
from jaxbert.model.tokenizer_file import (
    BERT_NORMALIZER,
    MAX_BYTES,
    added_ids,
    check_rows,
    normalizer_settings,
    parts_unlike_bert,
    read_tokenizer_json,
)
from jaxbert.model.tokenizer_settings import (
    CONFIG,
    FILE_CLASSES,
    Json,
    TokenizerConfig,
    read_settings,
)

logger = logging.getLogger("jaxbert")

_FILE = "tokenizer.json"
_VOCABULARY = "vocab.txt"
_SPECIAL = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
# Settings about the folder that a tokenizer was loaded from; a saved one must not have them.
_FOLDER_SETTINGS = (
    "added_tokens_decoder",
    "is_local",
    "local_files_only",
    "name_or_path",
    "tokenizer_file",
    "vocab_file",
)


def load_tokenizer(folder: str | Path, *, vocab_size: int | None = None) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a model folder from its tokenizer.json or vocab.txt and their settings.

    Args:
        vocab_size: rows of the model's embedding table, to check the tokenizer's ids against.

    Raises:
        InputError: there is no tokenizer, a setting is not supported, a special token is missing,
            or an id is out of range or differs from that in a file.
    """
    folder = Path(folder)
    tokenizer_config = read_settings(folder)
    raw = None
    if (folder / _FILE).is_file():
        raw = read_tokenizer_json(folder / _FILE, vocab_size)
    ids = tokenizer_config.ids | ({} if raw is None else {_FILE: added_ids(raw)})
    as_is = raw is not None and _is_used_as_is(tokenizer_config)
    with refused_in_one_line(folder):
        if raw is None:
            vocabulary = _read_vocabulary(folder, tokenizer_config, vocab_size)
            tokenizer = _open(BertTokenizer, tokenizer_config.files, vocabulary)
        elif as_is:
            tokenizer = _open(PreTrainedTokenizerFast, tokenizer_config.files | {_FILE: raw})
            _name_special(folder, tokenizer)
        else:
            _check_replaced(folder, tokenizer_config, raw)
            tokenizer = _open(BertTokenizer, tokenizer_config.files | {_FILE: raw})
        _check_ids(folder, tokenizer, ids)
        if raw is not None and as_is:
            tokenizer = _as_bert(folder, tokenizer, tokenizer_config, raw)
    check_rows(folder, max(tokenizer.get_vocab().values()), vocab_size)
    for name in _FOLDER_SETTINGS:
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.name_or_path = str(folder)
    # For the saved folder: BERT needs token_type_ids, whatever class wrote the settings.
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names
    tokenizer.model_max_length = tokenizer_config.model_max_length or 512
    return tokenizer


@contextlib.contextmanager
def refused_in_one_line(folder: Path) -> Iterator[None]:
    """Within it, whatever fails is an InputError that names the folder, and so are the panics of
    the Rust library, which are no Exceptions."""
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise InputError(f"{folder}: its tokenizer cannot be read ({shown(error)})") from None


def _open(
    tokenizer_cls: type[PreTrainedTokenizerFast],
    files: dict[str, dict[str, Json]],
    vocabulary: bytes | None = None,
) -> PreTrainedTokenizerFast:
    """Load a transformers class from a folder with these files and vocab.txt, if given."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_text(json.dumps(content), encoding="utf-8")
        if vocabulary is not None:
            Path(folder, _VOCABULARY).write_bytes(vocabulary)
        tokenizer: PreTrainedTokenizerFast = tokenizer_cls.from_pretrained(
            folder, local_files_only=True
        )
    return tokenizer


# --- a tokenizer.json -------------------------------------------------------------------------


def _is_used_as_is(tokenizer_config: TokenizerConfig) -> bool:
    """Whether AutoTokenizer uses a tokenizer.json as it is, instead of only its vocabulary."""
    if tokenizer_config.tokenizer_class is None:
        return tokenizer_config.model_type != "bert"
    return tokenizer_config.tokenizer_class in FILE_CLASSES


def _name_special(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Assign BERT's special tokens that no setting names."""
    for name, token in _SPECIAL.items():
        if getattr(tokenizer, name) is not None:
            continue
        if token in tokenizer.get_vocab() and token not in tokenizer.added_tokens_encoder:
            # Saving the name in the settings would change how such a text is tokenized.
            raise InputError(
                f"{folder / _FILE}: {token} is not among its added_tokens, and {CONFIG} does not "
                f'name it; write "{name}": "{token}" there'
            )
        setattr(tokenizer, name, token)


def _as_bert(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    tokenizer_config: TokenizerConfig,
    raw: dict[str, Json],
) -> PreTrainedTokenizerFast:
    """A tokenizer.json that was used as it is, as a BertTokenizer if that is equivalent.

    More programs can read a saved folder with this class name.
    """
    backend, cls, sep = tokenizer.backend_tokenizer, tokenizer.cls_token_id, tokenizer.sep_token_id
    if backend.encode("").ids != [cls, sep] or backend.encode("", "").ids != [cls, sep, sep]:
        raise InputError(
            f"{folder / _FILE}: post_processor does not make [CLS] A [SEP] and [CLS] A [SEP] B "
            f'[SEP] of texts, as BERT\'s does; write "tokenizer_class": "BertTokenizer" into '
            f"{CONFIG} for that"
        )
    normalizer = normalizer_settings(raw)
    for name in _differing_settings(tokenizer_config, normalizer):
        if name in tokenizer_config.files.get(CONFIG, {}):
            logger.warning(
                "%s: %s is ignored: tokenizer.json is used as it is, as in transformers",
                folder / CONFIG,
                name,
            )
    if parts_unlike_bert(raw):
        return tokenizer
    special_tokens = {name: str(getattr(tokenizer, name)) for name in _SPECIAL}
    config = tokenizer_config.files.get(CONFIG, {}) | special_tokens | normalizer
    bert = _open(BertTokenizer, tokenizer_config.files | {_FILE: raw, CONFIG: config})
    return bert if _without_template(bert) == _without_template(tokenizer) else tokenizer


def _without_template(tokenizer: PreTrainedTokenizerFast) -> dict[str, Json]:
    content: dict[str, Json] = json.loads(tokenizer.backend_tokenizer.to_str())
    return content | {"post_processor": None}


def _check_replaced(folder: Path, tokenizer_config: TokenizerConfig, raw: dict[str, Json]) -> None:
    """Refuse a tokenizer.json that BertTokenizer would change, unless a setting asks for it."""
    for name, value in parts_unlike_bert(raw).items():
        raise InputError(
            f"{folder / _FILE}: {name} is {shown(repr(value))}, which transformers' BertTokenizer "
            f'replaces with BERT\'s; write "tokenizer_class": "PreTrainedTokenizerFast" into '
            f"{CONFIG} to keep it"
        )
    normalizer = normalizer_settings(raw)
    config = tokenizer_config.files.get(CONFIG, {})
    for name in _differing_settings(tokenizer_config, normalizer):
        if name not in config:
            raise InputError(
                f"{folder / _FILE}: its normalizer has {name} {json.dumps(normalizer[name])}, "
                f"which {CONFIG} does not have, so transformers' BertTokenizer would use "
                f"{json.dumps(BERT_NORMALIZER[name])}; write {name} into {CONFIG}"
            )
        logger.warning(
            "%s: %s %s is used, though tokenizer.json has %s",
            folder / CONFIG,
            name,
            json.dumps(config[name]),
            json.dumps(normalizer[name]),
        )


def _differing_settings(
    tokenizer_config: TokenizerConfig, normalizer: dict[str, bool | None]
) -> list[str]:
    """The normalizer's settings whose effect differs in tokenizer_config.json."""
    if not normalizer:
        return []
    config = BERT_NORMALIZER | tokenizer_config.files.get(CONFIG, {})
    names = [n for n in ("do_lower_case", "tokenize_chinese_chars") if config[n] != normalizer[n]]
    # If strip_accents is null, accents are stripped if letters are lowercased.
    strip_accents = (config["strip_accents"], normalizer["strip_accents"])
    do_lower_case = (config["do_lower_case"], normalizer["do_lower_case"])
    ours, theirs = (
        a if s is None else s for s, a in zip(strip_accents, do_lower_case, strict=True)
    )
    return names + ["strip_accents"] * (strip_accents != (None, None) and ours != theirs)


# --- a vocab.txt ------------------------------------------------------------------------------


def _read_vocabulary(
    folder: Path, tokenizer_config: TokenizerConfig, vocab_size: int | None
) -> bytes:
    """The bytes of a vocab.txt, checked to be UTF-8 text without more lines than the model."""
    path = folder / _VOCABULARY
    if not path.is_file():
        raise InputError(f"{folder}: no tokenizer.json and no vocab.txt; copy the tokenizer in")
    if tokenizer_config.tokenizer_class in FILE_CLASSES:
        raise InputError(
            f"{folder}: tokenizer_class is {tokenizer_config.tokenizer_class!r}, which reads a "
            "tokenizer.json, but there is only a vocab.txt; change it to 'BertTokenizer'"
        )
    check_file(path, MAX_BYTES)
    content = path.read_bytes()
    if content.startswith(codecs.BOM_UTF8):
        raise InputError(
            f"{path}: it begins with a byte order mark, which would become part of its first "
            "token; save it as UTF-8 without one"
        )
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path}: its byte order mark says UTF-16; save it as UTF-8 without one")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: its tokenizer cannot be read: line {line} is not UTF-8; save it as UTF-8"
        ) from None
    if b"\r" in content and b"\n" not in content:
        raise InputError(f"{path}: its lines end with only CR; end them with LF")
    check_rows(folder, content.count(b"\n") - content.endswith(b"\n"), vocab_size)
    return content


# --- ids --------------------------------------------------------------------------------------


def _check_ids(
    folder: Path, tokenizer: PreTrainedTokenizerFast, ids: dict[str, dict[str, int]]
) -> None:
    """Check that the files have the special tokens, and that tokens have the ids in the files."""
    vocab = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    known = vocab.keys() | {token for tokens in ids.values() for token in tokens}
    # transformers adds a missing special token after the vocabulary, where the model has no row or
    # an untrained one.
    missing = [t for t in (str(getattr(tokenizer, name)) for name in _SPECIAL) if t not in known]
    if missing:
        raise InputError(
            f"{folder}: the tokenizer has no {shown(', '.join(missing))}; BERT needs them"
        )
    vocabulary = tokenizer.get_vocab()
    for source, tokens in ids.items():
        for token, token_id in tokens.items():
            if vocabulary.get(token) != token_id:
                actual = (
                    f"gives it {vocabulary[token]}" if token in vocabulary else "does not have it"
                )
                raise InputError(
                    f"{folder / source}: {shown(repr(token))} has the id {token_id}, but "
                    f"transformers' tokenizer of this folder {actual}; correct the file, or remove "
                    "the token from it"
                )
