"""A BERT tokenizer from a model folder, with the ids that transformers' AutoTokenizer gives.

transformers' own classes read the folder, so that every setting acts as it does there. They see
copies: files of a folder may be links, or name code and other files. AutoTokenizer itself imports
PyTorch wherever it is installed; the classes that it would choose do not.
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

# Read by transformers at its import, to say that PyTorch is missing; it is not needed here.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

from transformers import BertTokenizer
from transformers import PreTrainedTokenizerFast as PreTrainedTokenizerFast

from jaxbert.errors import InputError
from jaxbert.io.untrusted import check_file, shown
from jaxbert.model.tokenizer_file import (
    BERT_NORMALIZER,
    MOST,
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
    TokenizerSettings,
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
# What a tokenizer that was opened from a folder notes of the place, and a saved one must not say.
_PLACE = (
    "added_tokens_decoder",
    "is_local",
    "local_files_only",
    "name_or_path",
    "tokenizer_file",
    "vocab_file",
)


def load_tokenizer(folder: str | Path, *, vocab_size: int | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder, of its tokenizer.json or vocab.txt and their settings.

    Args:
        vocab_size: rows of the model's embedding table, to check the tokenizer's ids against.

    Raises:
        InputError: no tokenizer is there, a setting cannot be followed, a special token is missing,
            or an id is out of range or not the one that a file says.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    raw = None
    if (folder / _FILE).is_file():
        raw = read_tokenizer_json(folder / _FILE, vocab_size)
    ids = settings.ids | ({} if raw is None else {_FILE: added_ids(raw)})
    whole = raw is not None and _is_taken_whole(settings)
    with refused_in_one_line(folder):
        if raw is None:
            vocabulary = _read_vocabulary(folder, settings, vocab_size)
            tokenizer = _open(BertTokenizer, settings.files, vocabulary)
        elif whole:
            tokenizer = _open(PreTrainedTokenizerFast, settings.files | {_FILE: raw})
            _name_special(folder, tokenizer)
        else:
            _check_replaced(folder, settings, raw)
            tokenizer = _open(BertTokenizer, settings.files | {_FILE: raw})
        _check_ids(folder, tokenizer, ids)
        if raw is not None and whole:
            tokenizer = _as_bert(folder, tokenizer, settings, raw)
    check_rows(folder, max(tokenizer.get_vocab().values()), vocab_size)
    for name in _PLACE:
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.name_or_path = str(folder)
    # For the saved folder: BERT needs the segments of a pair, whatever class wrote the settings.
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names
    tokenizer.model_max_length = settings.model_max_length or 512
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
    kind: type[PreTrainedTokenizerFast],
    files: dict[str, dict[str, Json]],
    vocabulary: bytes | None = None,
) -> PreTrainedTokenizerFast:
    """transformers' class, of a folder with these files and a vocab.txt, where there is one."""
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            Path(place, name).write_text(json.dumps(content), encoding="utf-8")
        if vocabulary is not None:
            Path(place, _VOCABULARY).write_bytes(vocabulary)
        tokenizer: PreTrainedTokenizerFast = kind.from_pretrained(place, local_files_only=True)
    return tokenizer


# --- a tokenizer.json -------------------------------------------------------------------------


def _is_taken_whole(settings: TokenizerSettings) -> bool:
    """Whether AutoTokenizer takes a tokenizer.json as it is, instead of its vocabulary alone."""
    if settings.tokenizer_class is None:
        return settings.model_type != "bert"
    return settings.tokenizer_class in FILE_CLASSES


def _name_special(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Give BERT's names to the special tokens that no setting names."""
    for name, token in _SPECIAL.items():
        if getattr(tokenizer, name) is not None:
            continue
        if token in tokenizer.get_vocab() and token not in tokenizer.added_tokens_encoder:
            # Written into the saved settings, the name would change what becomes of such a text.
            raise InputError(
                f"{folder / _FILE}: {token} is not among its added_tokens, and {CONFIG} does not "
                f'name it; write "{name}": "{token}" there'
            )
        setattr(tokenizer, name, token)


def _as_bert(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    settings: TokenizerSettings,
    raw: dict[str, Json],
) -> PreTrainedTokenizerFast:
    """A tokenizer.json that was taken whole, as a BertTokenizer if that does the same.

    A saved folder is read by more programs under this name.
    """
    backend, cls, sep = tokenizer.backend_tokenizer, tokenizer.cls_token_id, tokenizer.sep_token_id
    if backend.encode("").ids != [cls, sep] or backend.encode("", "").ids != [cls, sep, sep]:
        raise InputError(
            f"{folder / _FILE}: post_processor does not make [CLS] A [SEP] and [CLS] A [SEP] B "
            f'[SEP] of texts, as BERT\'s does; write "tokenizer_class": "BertTokenizer" into '
            f"{CONFIG} for that"
        )
    given = normalizer_settings(raw)
    for name in _differing(settings, given):
        if name in settings.files.get(CONFIG, {}):
            logger.warning(
                "%s: %s is not followed: tokenizer.json is taken as it is, as in transformers",
                folder / CONFIG,
                name,
            )
    if parts_unlike_bert(raw):
        return tokenizer
    named = {name: str(getattr(tokenizer, name)) for name in _SPECIAL}
    config = settings.files.get(CONFIG, {}) | named | given
    same = _open(BertTokenizer, settings.files | {_FILE: raw, CONFIG: config})
    return same if _without_template(same) == _without_template(tokenizer) else tokenizer


def _without_template(tokenizer: PreTrainedTokenizerFast) -> dict[str, Json]:
    content: dict[str, Json] = json.loads(tokenizer.backend_tokenizer.to_str())
    return content | {"post_processor": None}


def _check_replaced(folder: Path, settings: TokenizerSettings, raw: dict[str, Json]) -> None:
    """Refuse a tokenizer.json that BertTokenizer would change, if no setting says that it is to."""
    for name, value in parts_unlike_bert(raw).items():
        raise InputError(
            f"{folder / _FILE}: {name} is {shown(repr(value))}, which transformers' BertTokenizer "
            f'replaces by BERT\'s; write "tokenizer_class": "PreTrainedTokenizerFast" into '
            f"{CONFIG} to keep it"
        )
    given = normalizer_settings(raw)
    config = settings.files.get(CONFIG, {})
    for name in _differing(settings, given):
        if name not in config:
            raise InputError(
                f"{folder / _FILE}: its normalizer has {name} {json.dumps(given[name])}, which "
                f"{CONFIG} does not say, and transformers' BertTokenizer takes "
                f"{json.dumps(BERT_NORMALIZER[name])} then; write {name} into {CONFIG}"
            )
        logger.warning(
            "%s: %s %s is followed, though tokenizer.json has %s",
            folder / CONFIG,
            name,
            json.dumps(config[name]),
            json.dumps(given[name]),
        )


def _differing(settings: TokenizerSettings, given: dict[str, bool | None]) -> list[str]:
    """The settings of the normalizer that tokenizer_config.json has with another effect."""
    if not given:
        return []
    config = BERT_NORMALIZER | settings.files.get(CONFIG, {})
    names = [n for n in ("do_lower_case", "tokenize_chinese_chars") if config[n] != given[n]]
    # Where strip_accents is null, accents are stripped as letters are lowered.
    said = (config["strip_accents"], given["strip_accents"])
    lowered = (config["do_lower_case"], given["do_lower_case"])
    ours, theirs = (a if s is None else s for s, a in zip(said, lowered, strict=True))
    return names + ["strip_accents"] * (said != (None, None) and ours != theirs)


# --- a vocab.txt ------------------------------------------------------------------------------


def _read_vocabulary(folder: Path, settings: TokenizerSettings, vocab_size: int | None) -> bytes:
    """The bytes of a vocab.txt, known to be text in UTF-8 with no more lines than the model."""
    path = folder / _VOCABULARY
    if not path.is_file():
        raise InputError(f"{folder}: no tokenizer.json and no vocab.txt; copy the tokenizer in")
    if settings.tokenizer_class in FILE_CLASSES:
        raise InputError(
            f"{folder}: tokenizer_class is {settings.tokenizer_class!r}, which reads a "
            "tokenizer.json, and there is a vocab.txt only; make it 'BertTokenizer'"
        )
    check_file(path, MOST)
    content = path.read_bytes()
    if content.startswith(codecs.BOM_UTF8):
        raise InputError(
            f"{path}: it begins with a byte order mark, which would be a part of its first token; "
            "save it as UTF-8 without one"
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
        raise InputError(f"{path}: its lines end in CR alone; end them in LF")
    check_rows(folder, content.count(b"\n") - content.endswith(b"\n"), vocab_size)
    return content


# --- ids --------------------------------------------------------------------------------------


def _check_ids(
    folder: Path, tokenizer: PreTrainedTokenizerFast, ids: dict[str, dict[str, int]]
) -> None:
    """Check that special tokens were there, and that tokens have the ids that the files say."""
    vocab = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    known = vocab.keys() | {token for tokens in ids.values() for token in tokens}
    # transformers adds a missing special token behind the vocabulary, where the model has no row
    # or one that was never trained.
    missing = [t for t in (str(getattr(tokenizer, name)) for name in _SPECIAL) if t not in known]
    if missing:
        raise InputError(
            f"{folder}: the tokenizer has no {shown(', '.join(missing))}; BERT needs them"
        )
    found = tokenizer.get_vocab()
    for place, tokens in ids.items():
        for token, number in tokens.items():
            if found.get(token) != number:
                does = f"gives it {found[token]}" if token in found else "does not have it"
                raise InputError(
                    f"{folder / place}: {shown(repr(token))} has the id {number}, and "
                    f"transformers' tokenizer of this folder {does}; correct the file, or remove "
                    "the token from it"
                )
