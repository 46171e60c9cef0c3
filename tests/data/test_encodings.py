"""What a file that is not UTF-8 is likely to be, and that the iconv line given for it helps."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import public_data
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data.encodings import likely_encoding, wide_encoding
from jaxbert.data.text_files import lines_of, read_text
from jaxbert.errors import InputError

FRENCH = "texte,note\nUn café à Besançon – très bien.,1\n“L’hôtel” où l’on dort mal…,0\n"
GERMAN = "Straße über Köln, Grüße aus Düsseldorf\n"
SPANISH = "El niño comió mañana.\n¿Qué?\n"
RUSSIAN = "Этот фильм очень хороший.\nМосква — столица России, и я в ней жил\n"
CHINESE = "text,label\n这部电影很好看，我喜欢。,1\n酒店服务很差，房间很小，不推荐入住。,0\n"
TAIWAN = "這部電影很好看，我喜歡。\n酒店服務很差，房間很小，不推薦入住。\n"
JAPANESE = "この映画はとても面白かった。\n先生はテレビで見ました\n"
KOREAN = "이 영화는 정말 재미있었다.\n서울에 가고 싶다\n"

TEXTS = [
    (FRENCH, "WINDOWS-1252"),
    (GERMAN, "WINDOWS-1252"),
    (SPANISH, "WINDOWS-1252"),
    ("naïve", "WINDOWS-1252"),
    ("text,label\nit’s fine,1\n", "WINDOWS-1252"),
    (RUSSIAN, "WINDOWS-1251"),
    (CHINESE, "GB18030"),
    ("中国\n北京", "GB18030"),
    (TAIWAN, "BIG5"),
    (JAPANESE, "SHIFT_JIS"),
    (JAPANESE, "EUC-JP"),
    (KOREAN, "EUC-KR"),
]


@pytest.mark.parametrize(("text", "name"), TEXTS)
@pytest.mark.parametrize("end", ["", "\n"])
def test_likely_encodings(text: str, name: str, end: str) -> None:
    raw = (text + end).encode(name)
    assert wide_encoding(raw) is None
    assert likely_encoding(raw) == name
    assert likely_encoding((text + end).replace("\n", "\r\n").encode(name) * 3000) == name


@pytest.mark.parametrize(("text", "name"), TEXTS)
def test_one_line_that_begins_with_much_ascii(text: str, name: str) -> None:
    raw = ("a" * 70_000 + text.replace("\n", " ")).encode(name)
    assert likely_encoding(raw) == name


@pytest.mark.parametrize("width", ["16", "32"])
@pytest.mark.parametrize("text", [FRENCH, "a,b\n", "[]\n\n"])
def test_wide_encodings(text: str, width: str) -> None:
    assert wide_encoding(text.encode(f"utf-{width}")) == f"UTF-{width}"
    for order in ("le", "be"):
        name = f"UTF-{width}{order.upper()}"
        assert wide_encoding(text.encode(name)) == name
        mark = "\ufeff"
        assert wide_encoding((mark + text).encode(name)) == f"UTF-{width}"


def test_damaged_utf8_has_no_other_encoding() -> None:
    raw = (FRENCH * 20).encode()
    for damaged in (raw[:-1] + b"\xff\n", raw.replace("é".encode(), b"\xc3", 1)):
        assert likely_encoding(damaged) is None


@given(st.binary(max_size=60))
def test_any_bytes_have_one_or_none(raw: bytes) -> None:
    assert wide_encoding(raw) in (
        None,
        *(f"UTF-{n}{o}" for n in (16, 32) for o in ("", "LE", "BE")),
    )
    try:
        raw.decode()
    except UnicodeDecodeError:
        assert likely_encoding(raw) in (None, *(name for _, name in TEXTS))


@pytest.mark.parametrize(("text", "name"), [*TEXTS, (FRENCH, "UTF-16"), (CHINESE, "UTF-16LE")])
def test_the_line_given_makes_the_file_readable(text: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a b.csv"
    path.write_bytes(text.encode(name))
    with pytest.raises(InputError) as caught:
        read_text(path)
    command = str(caught.value).split(" with ")[1]
    assert command == f"iconv -f {name} -t UTF-8 'a b.csv' > NEW.csv"
    if shutil.which("iconv") is None:
        pytest.skip("there is no iconv")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert read_text(tmp_path / "NEW.csv") == text


def test_other_files_have_no_such_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for raw in (
        b"1\0,2\n" * 2,
        b"a" * 99 + b"\0\n",
        b"PK\x03\x04\x00\x00\xff\xfe\x00\x01\xe9",
        "é à ö".encode() + b"\xff",
    ):
        path.write_bytes(raw)
        with pytest.raises(InputError) as caught:
            read_text(path)
        assert "iconv" not in str(caught.value)
        assert str(caught.value).endswith("is it damaged, or another kind of file?")


def test_lines_end_with_cr_where_there_is_no_lf() -> None:
    assert lines_of("a\rb\r\rc\r") == ["a", "b", "", "c", ""]
    assert lines_of("a\rb\nc\r\n") == ["a\rb", "c", ""]
    assert lines_of("a\u2028b\x85c") == ["a\u2028b\x85c"]
    assert lines_of("") == [""]


@pytest.mark.parametrize(
    ("file", "name"),
    [("chnsenticorp_dev.tsv", "GB18030"), ("cmrc2018_dev.json", "GB18030")],
)
def test_public_data(file: str, name: str) -> None:
    text = public_data(file).read_text(encoding="utf-8")
    assert likely_encoding(text.encode(name)) == name
