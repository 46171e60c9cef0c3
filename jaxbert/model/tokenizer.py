"""Loads a tokenizer from a model folder, with the same ids as transformers' AutoTokenizer.

transformers' classes read the folder, so all settings have the same effect. They read copies: files
in a folder may be links, or name code and other files. AutoTokenizer itself imports PyTorch if
installed; the classes that it would choose do not.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Stops transformers from warning at import that PyTorch is missing; it is not needed here.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

from tokenizers import Tokenizer
from transformers import AlbertTokenizer, BertTokenizer, RobertaTokenizer, XLMRobertaTokenizer
from transformers import PreTrainedTokenizerFast as PreTrainedTokenizerFast

from jaxbert.errors import InputError
from jaxbert.io.untrusted import check_file, read_object, shown
from jaxbert.model.families import FAMILIES
from jaxbert.model.tokenizer_file import (
    BERT_NORMALIZER,
    MAX_BYTES,
    FileContent,
    Tokens,
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
_MERGES = ("vocab.json", "merges.txt")
_SPECIAL = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA_SPECIAL = {
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}


@dataclasses.dataclass(frozen=True)
class _Kind:
    """One class of tokenizers, with the type of its model, the special tokens that no setting
    names, and the id of an unknown token where the class has it fixed."""

    builder: type[PreTrainedTokenizerFast]
    tokens: Tokens
    special: dict[str, str]
    unk_id: int | None = None


_KINDS = {
    "BertTokenizer": _Kind(BertTokenizer, "WordPiece", _SPECIAL),
    "RobertaTokenizer": _Kind(RobertaTokenizer, "BPE", _ROBERTA_SPECIAL),
    "XLMRobertaTokenizer": _Kind(XLMRobertaTokenizer, "Unigram", _ROBERTA_SPECIAL, 3),
    "AlbertTokenizer": _Kind(
        AlbertTokenizer, "Unigram", _SPECIAL | {"unk_token": "<unk>", "pad_token": "<pad>"}, 1
    ),
}
# Parts of a tokenizer.json that a class replaces, and the settings that ask for others.
_PARTS = {
    "normalizer": {"do_lower_case", "keep_accents"},
    "pre_tokenizer": {"add_prefix_space"},
    "post_processor": {"add_prefix_space", "trim_offsets"},
    "decoder": {"add_prefix_space"},
}
# Settings about the folder that a tokenizer was loaded from; a saved one must not have them.
_FOLDER_SETTINGS = (
    "added_tokens_decoder",
    "is_local",
    "local_files_only",
    "merges_file",
    "name_or_path",
    "tokenizer_file",
    "vocab_file",
)


def load_tokenizer(
    folder: str | Path, *, vocab_size: int | None = None, of_words: bool = False
) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a model folder from its tokenizer.json or vocab.txt and their settings.

    Args:
        vocab_size: rows of the model's embedding table, to check the tokenizer's ids against.
        of_words: for words that are tokenized one by one: a tokenizer that counts the space before
            a word to its token adds it to the first word too (add_prefix_space).

    Raises:
        InputError: there is no tokenizer, a setting is not supported, a special token is missing,
            or an id is out of range or differs from that in a file.
    """
    folder = Path(folder)
    tokenizer_config = read_settings(folder)
    raw = None
    as_is = (folder / _FILE).is_file() and _is_used_as_is(tokenizer_config)
    kind = _kind_of(tokenizer_config)
    if (folder / _FILE).is_file():
        raw = read_tokenizer_json(folder / _FILE, vocab_size, None if as_is else kind.tokens)
        if as_is and raw["model"]["type"] != kind.tokens:
            kind = next(k for k in _KINDS.values() if k.tokens == raw["model"]["type"])
    if of_words and kind.tokens == "BPE":
        tokenizer_config.files.setdefault(CONFIG, {})["add_prefix_space"] = True
        for part in ("pre_tokenizer", "post_processor"):
            if raw is not None and "add_prefix_space" in (raw.get(part) or {}):
                raw[part] = raw[part] | {"add_prefix_space": True}
    ids = tokenizer_config.ids | ({} if raw is None else {_FILE: added_ids(raw)})
    with refused_in_one_line(folder):
        if kind.tokens != "WordPiece" and not as_is:
            tokenizer = _open_other(folder, tokenizer_config, raw, kind, vocab_size)
        elif raw is None:
            vocabulary = _read_vocabulary(folder, tokenizer_config, vocab_size)
            tokenizer = _open(BertTokenizer, tokenizer_config.files, vocabulary)
        elif as_is:
            tokenizer = _open(PreTrainedTokenizerFast, tokenizer_config.files | {_FILE: raw})
            _name_special(folder, tokenizer, kind.special)
        else:
            _check_replaced(folder, tokenizer_config, raw)
            tokenizer = _open(BertTokenizer, tokenizer_config.files | {_FILE: raw})
        _check_ids(folder, tokenizer, ids)
        if as_is:
            _check_template(folder, tokenizer, kind)
        if raw is not None and as_is and kind.tokens == "WordPiece":
            tokenizer = _as_bert(folder, tokenizer, tokenizer_config, raw)
    check_rows(folder, max(tokenizer.get_vocab().values()), vocab_size)
    for name in _FOLDER_SETTINGS:
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.name_or_path = str(folder)
    # For the saved folder: BERT needs token_type_ids, whatever class wrote the settings.
    family = FAMILIES.get(tokenizer_config.model_type or "")
    reads_types = family is None or family.fixed.get("type_vocab_size") != 0
    has_types = reads_types and tokenizer.backend_tokenizer.encode("", "").type_ids[-1:] == [1]
    tokenizer.model_input_names = ["input_ids", *["token_type_ids"] * has_types, "attention_mask"]
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
    vocabulary_name: str = _VOCABULARY,
) -> PreTrainedTokenizerFast:
    """Load a transformers class from a folder with these files and vocab.txt, if given."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_text(json.dumps(content), encoding="utf-8")
        if vocabulary is not None:
            Path(folder, vocabulary_name).write_bytes(vocabulary)
        tokenizer: PreTrainedTokenizerFast = tokenizer_cls.from_pretrained(
            folder, local_files_only=True
        )
    return tokenizer


# --- a tokenizer.json -------------------------------------------------------------------------


def _is_used_as_is(tokenizer_config: TokenizerConfig) -> bool:
    """Whether AutoTokenizer uses a tokenizer.json as it is, instead of only its vocabulary."""
    if tokenizer_config.tokenizer_class is None:
        return tokenizer_config.model_type not in FAMILIES
    return tokenizer_config.tokenizer_class in FILE_CLASSES


def _kind_of(tokenizer_config: TokenizerConfig) -> _Kind:
    """The kind of a class, or of the model's family where no class is named."""
    name = (tokenizer_config.tokenizer_class or "").removesuffix("Fast")
    if name not in _KINDS:
        family = FAMILIES.get(tokenizer_config.model_type or "")
        is_file = tokenizer_config.tokenizer_class in (None, *FILE_CLASSES)
        name = family.tokenizer if is_file and family is not None else "BertTokenizer"
    return _KINDS[name]


def _name_special(
    folder: Path, tokenizer: PreTrainedTokenizerFast, special: dict[str, str]
) -> None:
    """Assign the family's special tokens that no setting names."""
    for name, token in special.items():
        if getattr(tokenizer, name) is not None:
            continue
        if token in tokenizer.get_vocab() and token not in tokenizer.added_tokens_encoder:
            # Saving the name in the settings would change how such a text is tokenized.
            raise InputError(
                f"{folder / _FILE}: {token} is not among its added_tokens, and {CONFIG} does not "
                f'name it; write "{name}": "{token}" there'
            )
        setattr(tokenizer, name, token)


def _check_template(folder: Path, tokenizer: PreTrainedTokenizerFast, kind: _Kind) -> None:
    """Check what a tokenizer.json that is used as it is puts around and between texts."""
    backend, cls, sep = tokenizer.backend_tokenizer, tokenizer.cls_token_id, tokenizer.sep_token_id
    is_wordpiece = kind.tokens == "WordPiece"
    separators = [2] if is_wordpiece else [2, 3]
    pairs = [[cls, *[sep] * count] for count in separators]
    if backend.encode("").ids != [cls, sep] or backend.encode("", "").ids not in pairs:
        bert = "[CLS] A [SEP] and [CLS] A [SEP] B [SEP] of texts, as BERT's does"
        roberta = "<s> A </s> and <s> A </s></s> B </s> of texts, as RoBERTa's does"
        raise InputError(
            f"{folder / _FILE}: post_processor does not make {bert if is_wordpiece else roberta}; "
            f'write "tokenizer_class": "{kind.builder.__name__}" into {CONFIG} for that'
        )


def _as_bert(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    tokenizer_config: TokenizerConfig,
    raw: dict[str, Json],
) -> PreTrainedTokenizerFast:
    """A tokenizer.json that was used as it is, as a BertTokenizer if that is equivalent.

    More programs can read a saved folder with this class name.
    """
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


# --- other families ---------------------------------------------------------------------------


def _open_other(
    folder: Path,
    tokenizer_config: TokenizerConfig,
    raw: FileContent | None,
    kind: _Kind,
    vocab_size: int | None,
) -> PreTrainedTokenizerFast:
    """A tokenizer that its class builds from a tokenizer.json's vocabulary and the settings, or
    from vocab.json and merges.txt."""
    tokenizer_cls = kind.builder
    if raw is not None:
        tokenizer = _open(tokenizer_cls, tokenizer_config.files | {_FILE: raw})
        _check_rebuilt(folder, tokenizer_config, raw, kind, tokenizer)
        return tokenizer
    if kind.tokens == "Unigram" or not all((folder / name).is_file() for name in _MERGES):
        also = " and no vocab.json with merges.txt" if kind.tokens == "BPE" else ""
        raise InputError(
            f"{folder}: no tokenizer.json{also}; where transformers and sentencepiece are "
            f"installed, {tokenizer_cls.__name__}.from_pretrained(DIR).save_pretrained(DIR) writes "
            "one"
        )
    vocabulary = read_object(folder / _MERGES[0], MAX_BYTES)
    if not all(isinstance(number, int) and 0 <= number < 10**7 for number in vocabulary.values()):
        raise InputError(f"{folder / _MERGES[0]}: not an object of tokens and their ids")
    check_rows(folder, max(vocabulary.values(), default=0), vocab_size)
    check_file(folder / _MERGES[1], MAX_BYTES)
    return _open(
        tokenizer_cls,
        tokenizer_config.files | {_MERGES[0]: vocabulary},
        (folder / _MERGES[1]).read_bytes(),
        _MERGES[1],
    )


def _check_rebuilt(
    folder: Path,
    tokenizer_config: TokenizerConfig,
    raw: FileContent,
    kind: _Kind,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Refuse a tokenizer.json whose parts its class would replace by others, unless a setting asks
    for it."""
    model = raw["model"] | {"vocab": {}, "merges": []}
    if model["type"] == "Unigram":
        model |= {"vocab": [["<unk>", 0.0]], "unk_id": 0}
    # Both as the same version of the library writes them.
    bare = {**raw, "model": model, "added_tokens": []}
    file = json.loads(Tokenizer.from_str(json.dumps(bare)).to_str())
    built = json.loads(tokenizer.backend_tokenizer.to_str())
    name = type(tokenizer).__name__
    if raw["model"].get("unk_id", kind.unk_id) != kind.unk_id:
        raise InputError(f"{folder / _FILE}: model.unk_id is not {kind.unk_id}, as {name} has it")
    for part, settings in _PARTS.items():
        if file[part] == built[part]:
            continue
        asked = settings & tokenizer_config.files.get(CONFIG, {}).keys()
        if not asked:
            raise InputError(
                f"{folder / _FILE}: its {part} is not the one that transformers' {name} puts in "
                f'its place; write "tokenizer_class": "PreTrainedTokenizerFast" into {CONFIG} to '
                "keep it"
            )
        logger.warning(
            "%s: %s is that of %s and its settings (%s), though tokenizer.json has another",
            folder / CONFIG,
            part,
            name,
            ", ".join(sorted(asked)),
        )


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
