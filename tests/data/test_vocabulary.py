"""Vocabularies: what is in them, that they do not differ from run to run, and the script."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import transformers
from conftest import DEMO, REPOSITORY
from scripts import call

from jaxbert.data.questions import read_qa
from jaxbert.data.vocabulary import save_vocabulary, train_vocabulary
from jaxbert.errors import InputError
from jaxbert.model.config import load_config
from jaxbert.model.tokenizer import load_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SCRIPT = REPOSITORY / "train" / "vocabulary.py"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    files = [str(DEMO / name) for name in ("qa_en_train.json", "qa_zh_train.json")]
    return sorted({example.context for example in read_qa(files).examples})


def is_chinese(token: str) -> bool:
    return any("\u4e00" <= c <= "\u9fff" for c in token)


def test_by_hand() -> None:
    # ab begins two words, abc one only; d follows a c that begins a word, and one that does not.
    tokens, notes = train_vocabulary(["Ab cd, abcd", "中国中国é"], vocab_size=99, lowercase=True)
    characters = [",", "a", "b", "c", "d", "e", "中", "国", "##b", "##c", "##d"]
    assert tokens == [*SPECIAL, *characters, "ab"]
    assert notes == [
        "17 tokens: 5 special, 11 characters (single and inside words), 1 longer, "
        "of 9 words, 7 different",
        "fewer than --vocab_size 99: no other pair occurs twice",
    ]
    cased, _ = train_vocabulary(["Ab cd, abcd", "中国中国é"], vocab_size=17, lowercase=False)
    assert cased == [*SPECIAL, *",Aabcdé中国", "##b", "##c", "##d"]


def test_demo(texts: list[str], tmp_path: Path) -> None:
    tokens, notes = train_vocabulary(iter(texts), vocab_size=2000, lowercase=False)
    assert tokens[:5] == SPECIAL
    assert len(tokens) == len(set(tokens)) == 2000
    assert len(notes) == 1
    assert notes[0].startswith("2,000 tokens: 5 special, ")
    # Chinese characters are tokens of their own, and never inside of a word.
    chinese = [token for token in tokens if is_chinese(token)]
    assert {len(token) for token in chinese} == {1}
    assert set(chinese) == {c for text in texts for c in text if is_chinese(c)}
    # Every other character is there alone, and a longer token is twice in the text at least.
    longer = [t for t in tokens[5:] if len(t.removeprefix("##")) > 1]
    assert len(longer) > 500
    everything = " ".join(texts)
    assert all(everything.count(t.removeprefix("##")) >= 2 for t in longer)
    save_vocabulary(tmp_path / "v", tokens, lowercase=False)
    tokenizer = load_tokenizer(tmp_path / "v", vocab_size=2000)
    for text in texts:
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


def test_the_order_of_the_texts_does_not_matter(texts: list[str]) -> None:
    expected = train_vocabulary(texts, vocab_size=1500, lowercase=False)
    random.Random(0).shuffle(texts := list(texts))
    assert train_vocabulary(texts, vocab_size=1500, lowercase=False) == expected


@pytest.mark.parametrize("vocab_size", [20, 300])
def test_too_small_for_the_characters(texts: list[str], vocab_size: int, tmp_path: Path) -> None:
    tokens, notes = train_vocabulary(texts, vocab_size=vocab_size, lowercase=True)
    assert vocab_size - 1 <= len(tokens) <= vocab_size
    assert tokens[:5] == SPECIAL
    assert {"e", "##e", "的", "，"} <= set(tokens) or vocab_size == 20
    save_vocabulary(tmp_path / "v", tokens, lowercase=True)
    tokenizer = load_tokenizer(tmp_path / "v")
    backend = tokenizer.backend_tokenizer
    words = unknown = 0
    for text in texts:
        encoding = backend.encode(text, add_special_tokens=False)
        words += len({*encoding.word_ids})
        unknown += encoding.ids.count(tokenizer.unk_token_id)
    assert len(notes) >= 2
    [note] = [line for line in notes if "no room" in line]
    assert note.startswith(f"--vocab_size {vocab_size} has no room for ")
    assert f"so {unknown / words:.2%} of its words become [UNK]" in note
    enough = int(note.split()[-4].replace(",", ""))
    assert f"; {enough:,} would hold all" in note
    assert len(train_vocabulary(texts, vocab_size=enough, lowercase=True)[1]) == 1
    fewer = train_vocabulary(texts, vocab_size=enough - 1, lowercase=True)[1]
    assert "has no room for 1 of the text's" in fewer[1]


@pytest.mark.parametrize(
    ("lines", "vocab_size", "part"),
    [
        (["", " \t", "\u200b"], 100, "the text has no words"),
        (["the"], 5, "--vocab_size 5: no room for characters; those of the text need 10"),
        (["the"], -1, "--vocab_size -1: no room for characters"),
    ],
)
def test_unusable(lines: list[str], vocab_size: int, part: str) -> None:
    with pytest.raises(InputError) as caught:
        train_vocabulary(lines, vocab_size=vocab_size, lowercase=True)
    assert part in str(caught.value)


@pytest.mark.parametrize("lowercase", [True, False])
def test_the_folder_is_opened_by_transformers(tmp_path: Path, lowercase: bool) -> None:
    lines = ["The Cafés of the 中国 city", "the cafés, The City"]
    tokens, _ = train_vocabulary(lines, vocab_size=80, lowercase=lowercase)
    folder = tmp_path / "new" / "folder"
    save_vocabulary(folder, tokens, lowercase=lowercase)
    assert (folder / "vocab.txt").read_text(encoding="utf-8").split("\n") == [*tokens, ""]
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["do_lower_case"] is lowercase
    assert settings["model_max_length"] == 512
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "txt").mkdir()
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / "txt" / name).write_bytes((folder / name).read_bytes())
    opened = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(opened) is transformers.BertTokenizer
    for tokenizer in (load_tokenizer(folder), load_tokenizer(tmp_path / "txt"), opened):
        assert tokenizer.convert_ids_to_tokens(range(len(tokens))) == tokens
        assert sorted(tokenizer.all_special_ids) == [0, 1, 2, 3, 4]
        for line in lines:
            found = tokenizer.convert_ids_to_tokens(tokenizer(line)["input_ids"])
            assert found[0] == "[CLS]"
            assert found[-1] == "[SEP]"
            text = line.lower().replace("é", "e") if lowercase else line
            joined = "".join(found[1:-1]).replace("##", "")
            assert joined == text.replace(" ", "")


def words_for(folder: Path, *more: str) -> list[str]:
    files = [str(DEMO / name) for name in ("qa_en_train.json", "qa_zh_train.json")]
    words = ["--train_file", *files, "--output_dir", str(folder), "--vocab_size", "2000"]
    return [*words, "--lowercase", "False", "--hidden_size", "32", *more]


def test_the_script_writes_the_same_files_in_another_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("train/vocabulary.py", *words_for(tmp_path / "a"))
    out = capsys.readouterr().out
    assert "2,000 tokens" in out
    assert f"vocabulary and config.json in {tmp_path / 'a'}" in out
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *words_for(tmp_path / "b")],
        env={**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    files = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    assert {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()} == files
    assert set(files) == {"config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json"}
    cfg = load_config(tmp_path / "a")
    assert (cfg.vocab_size, cfg.hidden_size, cfg.num_hidden_layers) == (2000, 32, 4)
    assert len(load_tokenizer(tmp_path / "a", vocab_size=cfg.vocab_size)) == 2000
    assert transformers.BertConfig.from_pretrained(tmp_path / "a").hidden_size == 32

    before = {p: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    with pytest.raises(InputError, match=r"has a config\.json already; give another folder$"):
        call("train/vocabulary.py", *words_for(tmp_path / "a"))
    (tmp_path / "b" / "config.json").unlink()
    with pytest.raises(InputError, match=r"has a vocab\.txt already; give another folder$"):
        call("train/vocabulary.py", *words_for(tmp_path / "b"))
    assert {p: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--hidden_size", "30"], "hidden_size 30 is not a multiple of num_attention_heads 4"),
        (["--vocab_size", "0"], "vocab_size is 0: it must be an integer from 1"),
        (["--vocab_size", "4"], "--vocab_size 4: no room for characters"),
        (["--train_file", "none.txt"], "none.txt: no such file"),
        (["--output_dir", ""], "give --train_file, the text, and --output_dir"),
        (["--vocabsize", "9"], "--vocabsize is not an option; did you mean --vocab_size?"),
    ],
)
def test_wrong_input_writes_nothing(more: list[str], part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        call("train/vocabulary.py", *words_for(tmp_path / "a", *more))
    assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []
