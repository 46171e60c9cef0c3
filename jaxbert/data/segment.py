"""Splits text into words for whole-word masking: BERT's words, and segmented Chinese."""

from __future__ import annotations

import functools
import itertools
import logging
import string
import tempfile
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from jaxbert.data.text_files import lines_of, read_text
from jaxbert.errors import InputError

# A function text -> (W, 2) int64, the first character of each word and the one after its last;
# with its description.
FindWords = Callable[[str], np.ndarray]
Segmenter = tuple[FindWords, str]
Cut = Callable[[str], Iterable[str]]  # a run of Chinese characters -> its words

# First and last, from google-research/bert, tokenization.py, _is_chinese_char.
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
# Kinds of characters. A run of ideographs is segmented, a mark is a word, a run of others is one.
_SPACE, _OTHER, _MARK, _IDEOGRAPH = range(4)
_LAST = 0x30000  # this character and all above it are others


def make_segmenter(words: str) -> Segmenter:
    """Make a function that finds the words of a text.

    Runs of Chinese characters are segmented as `words` says. Everything else is split as BERT's
    tokenizer splits it before WordPiece, at white space and at every punctuation character, so all
    sub-words of "tokenizer" are in one word.

    Args:
        words: "characters" (each Chinese character is a word), "jieba", or the path of a UTF-8
            file of Chinese words, one per line, ignoring what follows white space. With a file, the
            longest matching word is taken, from left to right (forward maximum matching).

    Returns:
        The function text -> (W, 2) int64, where each word begins and ends in characters, ascending
        and disjoint, covering all of the text but white space; and its description for the log.

    Raises:
        InputError: jieba is not installed, or the file cannot be read or has no Chinese word.
    """
    cut: Cut | None
    if words == "characters":
        cut, description = None, "single characters"
    elif words == "jieba":
        cut, description = _jieba()
    else:
        vocabulary = _read_words(words)
        cut, description = _longest_match(vocabulary), f"{len(vocabulary):,} words of {words}"
    return functools.partial(_spans, cut=cut), description


def _spans(text: str, *, cut: Cut | None) -> np.ndarray:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds()[np.minimum(codes, _LAST)]
    begins = np.diff(kinds, prepend=_SPACE) != 0
    begins |= kinds == _MARK
    if cut is None:
        begins |= kinds == _IDEOGRAPH
    else:
        for start, end in _runs(kinds == _IDEOGRAPH):
            inner = itertools.accumulate(map(len, cut(text[start:end])), initial=start)
            begins[list(inner)[:-1]] = True
    bounds = np.append(np.flatnonzero(begins), len(codes))
    is_word = kinds[bounds[:-1]] != _SPACE
    words: np.ndarray = np.stack([bounds[:-1], bounds[1:]], axis=1)[is_word]
    return words


def _runs(at: np.ndarray) -> list[list[int]]:
    """Where (N,) bool is True: the first index of each run, and the one after its last."""
    runs: list[list[int]] = (
        np.flatnonzero(np.diff(at, prepend=False, append=False)).reshape(-1, 2).tolist()
    )
    return runs


@functools.cache  # looks at 130,000 characters
def _kinds() -> np.ndarray:
    """The kind of every character to _LAST, (_LAST + 1,) uint8; those above are as the last.

    Punctuation is as in google-research/bert, tokenization.py, _is_punctuation: all ASCII symbols,
    and Unicode's punctuation. The planes from 0x20000 on have none, and no white space.
    """
    kinds = np.full(_LAST + 1, _OTHER, np.uint8)
    for code, c in enumerate(map(chr, range(0x20000))):
        if c.isspace():
            kinds[code] = _SPACE
        elif c in string.punctuation or unicodedata.category(c)[0] == "P":
            kinds[code] = _MARK
    for first, last in _CHINESE:
        kinds[first : last + 1] = _IDEOGRAPH
    return kinds


def _jieba() -> tuple[Cut, str]:
    """jieba's accurate mode, with its model for words that are not in its dictionary."""
    try:
        with warnings.catch_warnings():
            # About its regular expressions, and pkg_resources where setuptools still has it.
            warnings.simplefilter("ignore")
            import jieba
    except ImportError:
        raise InputError('jieba is not installed; pip install "jaxbert[zh]"') from None
    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    # By default it trusts a cached dictionary in the folder for temporary files, whoever wrote it.
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    return tokenizer.cut, f"jieba {jieba.__version__}"


def _read_words(path: str) -> set[str]:
    if not Path(path).is_file():
        raise InputError(
            f"--words {path}: no such file; give characters, jieba, or a file with a word per line"
        )
    text = read_text(Path(path))
    kinds = _kinds()
    first_words = (line.split(maxsplit=1)[0] for line in lines_of(text) if line.strip())
    words = {w for w in first_words if all(kinds[min(ord(c), _LAST)] == _IDEOGRAPH for c in w)}
    if not words:
        raise InputError(f"{path}: no line begins with a Chinese word; give one word per line")
    return words


def _longest_match(words: set[str]) -> Cut:
    """Forward maximum matching; a character that begins no word is a word itself."""
    lengths: defaultdict[str, set[int]] = defaultdict(set)
    for word in words:
        lengths[word[0]].add(len(word))
    longest_first = {first: sorted(sizes, reverse=True) for first, sizes in lengths.items()}
    return functools.partial(_match, words=words, longest_first=longest_first)


def _match(run: str, *, words: set[str], longest_first: dict[str, list[int]]) -> Iterator[str]:
    start = 0
    while start < len(run):
        sizes = longest_first.get(run[start], ())
        size = next((n for n in sizes if run[start : start + n] in words), 1)
        yield run[start : start + size]
        start += size
