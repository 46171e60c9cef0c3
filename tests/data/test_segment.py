"""Words: BERT's own outside of Chinese, and Chinese by characters, a list of words, and jieba."""

from __future__ import annotations

import functools
import importlib.util
import logging
import re
import string
import sys
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import BertPreTokenizer

from jaxbert.data.segment import make_segmenter
from jaxbert.errors import InputError

needs_jieba = pytest.mark.skipif(
    importlib.util.find_spec("jieba") is None, reason="jieba, of the extra zh, is not installed"
)

# Letters, ASCII and other punctuation, symbols, white space, combining and zero-width characters.
OTHER = "abzé0９ßЖあ한!'-_$+^~`|.,«—…、。「」！？%°€²’“ \t\n\u00a0\u2003\u3000\u0301\u200b\ufffd🍵"
CHINESE = "中国人民大学生活北京天安门\u3400\u9fff\uf900\U00020000\U0002ceaf\U0002fa1f"

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def words_of(words: str, text: str) -> list[str]:
    spans, _ = make_segmenter(words)
    return [text[a:b] for a, b in spans(text)]


def test_english_words_are_whole_and_punctuation_is_single() -> None:
    text = "Don't re-tokenize 25°C, it's $5.00!?"
    expected = "Don ' t re - tokenize 25°C , it ' s $ 5 . 00 ! ?"
    assert " ".join(words_of("characters", text)) == expected


@unhurried
@given(st.text(OTHER))
def test_outside_of_chinese_words_are_those_of_bert(text: str) -> None:
    spans, _ = make_segmenter("characters")
    expected = [span for _, span in BertPreTokenizer().pre_tokenize_str(text)]
    assert [tuple(span) for span in spans(text)] == expected


@functools.cache
def pieces() -> re.Pattern[str]:
    """The definition as a regular expression."""
    ideographs = (
        "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f"
        "\U0002b740-\U0002b81f\U0002b820-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f"
    )
    others = (c for c in map(chr, range(128, 0x110000)) if unicodedata.category(c)[0] == "P")
    marks = re.escape(string.punctuation + "".join(others))
    return re.compile(f"[{ideographs}{marks}]|[^\\s{ideographs}{marks}]+")


@unhurried
@given(st.lists(st.characters() | st.sampled_from(OTHER + CHINESE)).map("".join))
def test_words_are_those_of_the_definition(text: str) -> None:
    spans, _ = make_segmenter("characters")
    assert [tuple(span) for span in spans(text)] == [m.span() for m in pieces().finditer(text)]


def test_every_character_is_of_the_kind_that_the_definition_says() -> None:
    # Each between two letters; half of a surrogate pair may stand in a text that JSON gave.
    spans, _ = make_segmenter("characters")
    text = "".join(f"a{chr(code)}b " for code in range(0x30100))
    assert spans(text).tolist() == [[*m.span()] for m in pieces().finditer(text)]


@unhurried
@given(st.text(CHINESE + OTHER))
def test_words_are_ascending_and_leave_out_white_space_only(text: str) -> None:
    spans, _ = make_segmenter("characters")
    position = 0
    for start, end in spans(text):
        assert position <= start < end
        assert not text[position:start].strip()
        assert not any(c.isspace() for c in text[start:end])
        assert end == start + 1 or not set(text[start:end]) & set(CHINESE)
        position = end
    assert not text[position:].strip()


@pytest.mark.parametrize("edge", ["\u33ff", "\u4dc0", "\ua000", "あ", "ア", "한", "\U0002a6e0"])
def test_what_is_not_chinese_is_in_one_word(edge: str) -> None:
    assert words_of("characters", f"a{edge}b") == [f"a{edge}b"]


@pytest.mark.parametrize("edge", [*CHINESE, "\u4dbf", "\u4e00", "\ufaff", "\U0002a6df"])
def test_every_range_of_chinese_is_split(edge: str) -> None:
    assert words_of("characters", f"a{edge}{edge}b") == ["a", edge, edge, "b"]


@pytest.fixture
def word_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    lines = (
        "中国",
        "中国人 12 n",
        "",
        "人民\t3",
        "民大会堂",
        "abc",
        "大学生",
        "学生会堂",
        "  北京  ",
        "AA制",
    )
    path.write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    return path


def test_longest_match_from_the_left(word_file: Path) -> None:
    spans, description = make_segmenter(str(word_file))
    assert description == f"7 words of {word_file}"
    text = "中国人民大会堂，北京的大学生会堂abc制"
    # 人民 is not found, since 中国人 is longer than 中国; nor 学生会堂, since 大学生 comes first.
    expected = "中国人 民大会堂 ， 北京 的 大学生 会 堂 abc 制"
    assert " ".join(text[a:b] for a, b in spans(text)) == expected
    assert words_of("characters", "北京abc") == ["北", "京", "abc"]


def test_punctuation_and_space_end_a_word(word_file: Path) -> None:
    assert words_of(str(word_file), "北 京北，京 北京") == ["北", "京", "北", "，", "京", "北京"]


@unhurried
@given(st.sets(st.text("中国人民", min_size=1, max_size=4), min_size=1), st.text("中国人民大"))
def test_longest_match_against_a_slow_one(words: set[str], text: str) -> None:
    expected = []
    rest = text
    while rest:
        expected.append(next((rest[:n] for n in range(len(rest), 0, -1) if rest[:n] in words), ""))
        expected[-1] = expected[-1] or rest[0]
        rest = rest[len(expected[-1]) :]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write("\n".join(words))
        file.flush()
        assert words_of(file.name, text) == expected


@needs_jieba
def test_jieba_segments_chinese_only(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # So that its import, with whatever it warns of, happens here.
    for name in [n for n in sys.modules if n.split(".")[0] == "jieba"]:
        monkeypatch.delitem(sys.modules, name)
    spans, description = make_segmenter("jieba")
    assert description.startswith("jieba 0.")
    text = "我爱北京天安门，BERT-base在2018年10月。"
    expected = "我 爱 北京 天安门 ， BERT - base 在 2018 年 10 月 。"
    assert " ".join(text[a:b] for a, b in spans(text)) == expected
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []  # no cache is left for another user to read
    assert not logging.getLogger("jieba").isEnabledFor(logging.DEBUG)


@needs_jieba
def test_jieba_keeps_every_character() -> None:
    spans, _ = make_segmenter("jieba")
    text = f"杭研大厦{CHINESE}a{CHINESE[::-1]}"
    assert "".join(text[a:b] for a, b in spans(text)) == text
    assert any(b - a > 1 for a, b in spans(text))


def test_jieba_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(InputError, match=r'^jieba is not installed; pip install "jaxbert\[zh\]"$'):
        make_segmenter("jieba")


def test_word_files_with_a_mark_or_old_line_ends(tmp_path: Path) -> None:
    for text in ("\ufeff中国\n北京\n", "中国\r\n北京\r\n", "中国\r北京\r"):
        (tmp_path / "words.txt").write_bytes(text.encode())
        spans, description = make_segmenter(str(tmp_path / "words.txt"))
        assert description.startswith("2 words of ")
        assert spans("北京中国").tolist() == [[0, 2], [2, 4]]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "no such file; give characters, jieba, or a file"),
        (b"", "no line begins with a Chinese word"),
        (b"word\n12\n", "no line begins with a Chinese word"),
        ("中国\n北京".encode("gb18030"), "not UTF-8"),
    ],
)
def test_unusable_word_file(tmp_path: Path, content: bytes | None, part: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        make_segmenter(str(path))
    assert str(path) in str(caught.value)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
