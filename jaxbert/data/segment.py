"""Splits text into words for whole-word masking: BERT's words, and segmented Chinese."""

from __future__ import annotations

import functools
import itertools
import logging
import re
import string
import tempfile
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from jaxbert.data.text_files import lines_of, read_text
from jaxbert.errors import InputError

# A function text -> [(start, end), ...], the characters of its words; with its description.
FindWords = Callable[[str], list[tuple[int, int]]]
Segmenter = tuple[FindWords, str]

# For the inside of a regular expression's brackets, from google-research/bert, tokenization.py,
# _is_chinese_char.
_CHINESE = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b820-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f"
)


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
        The function text -> [(start, end), ...] in characters, ascending and disjoint, covering all
        of the text but white space; and its description for the log.

    Raises:
        InputError: jieba is not installed, or the file cannot be read or has no Chinese word.
    """
    cut: Callable[[str], Iterable[str]]
    if words == "characters":
        cut, description = list, "single characters"
    elif words == "jieba":
        cut, description = _jieba()
    else:
        vocabulary = _read_words(words)
        cut, description = _longest_match(vocabulary), f"{len(vocabulary):,} words of {words}"
    return functools.partial(_spans, cut=cut), description


def _spans(text: str, *, cut: Callable[[str], Iterable[str]]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for match in _pieces().finditer(text):
        start, end = match.span()
        if match.lastgroup == "chinese":
            ends = [*itertools.accumulate(map(len, cut(match[0])), initial=start)]
            spans += itertools.pairwise(ends)
        else:
            spans.append((start, end))
    return spans


@functools.cache  # checks 130,000 characters
def _pieces() -> re.Pattern[str]:
    """Runs of Chinese characters, single punctuation characters, and runs of anything else.

    Punctuation is as in google-research/bert, tokenization.py, _is_punctuation: all ASCII symbols,
    and Unicode's punctuation. The planes from 0x20000 on have none.
    """
    others = filter(lambda c: unicodedata.category(c)[0] == "P", map(chr, range(128, 0x20000)))
    marks = re.escape(string.punctuation + "".join(others))
    return re.compile(f"(?P<chinese>[{_CHINESE}]+)|[{marks}]|[^\\s{_CHINESE}{marks}]+")


def _jieba() -> tuple[Callable[[str], Iterable[str]], str]:
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
    chinese = re.compile(f"[{_CHINESE}]+")
    first_words = (line.split(maxsplit=1)[0] for line in lines_of(text) if line.strip())
    words = {word for word in first_words if chinese.fullmatch(word)}
    if not words:
        raise InputError(f"{path}: no line begins with a Chinese word; give one word per line")
    return words


def _longest_match(words: set[str]) -> Callable[[str], Iterable[str]]:
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
