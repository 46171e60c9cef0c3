"""The demo's texts: as many as said, labels balanced, nothing of training in validation."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

import pytest
from conftest import DEMO

pytestmark = pytest.mark.integration

TABLES = {
    "classification": ["sentence", "label"],
    "pairs": ["premise", "hypothesis", "label"],
    "regression": ["sentence1", "sentence2", "score"],
}
CLASSES = {
    "classification": ["negative", "positive"],
    "pairs": ["contradiction", "entailment", "neutral"],
}
TAGS = {"O", *(f"{place}-{kind}" for place in "BI" for kind in ("PER", "LOC", "ORG"))}
ENDINGS = [f"ending{n}" for n in range(4)]


def table(task: str, split: str) -> list[list[str]]:
    """The rows of a TSV file; raises where one has not the columns of the header."""
    text = (DEMO / f"{task}_{split}.tsv").read_text(encoding="utf-8")
    header, *rows = [line.split("\t") for line in text.splitlines()]
    assert header == TABLES[task]
    assert all(len(row) == len(header) and all(row) for row in rows)
    assert '"' not in text, "a quote would need quoting"
    return rows


def sentences(split: str) -> list[list[list[str]]]:
    """The sentences of a CoNLL file, each a list of [token, tag]."""
    text = (DEMO / f"tagging_{split}.conll").read_text(encoding="utf-8")
    assert text.endswith("\n\n"), "a blank line ends each sentence"
    return [[line.split("\t") for line in part.split("\n")] for part in text[:-2].split("\n\n")]


def choices(split: str) -> list[dict[str, str | int]]:
    text = (DEMO / f"multiple_choice_{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def lines(split: str) -> list[str]:
    return (DEMO / f"mlm_{split}.txt").read_text(encoding="utf-8").splitlines()


def paragraphs(name: str) -> list[tuple[str, list[str]]]:
    """The paragraphs of a file of questions, and what is asked about each."""
    data = json.loads((DEMO / f"qa_en_{name}.json").read_text(encoding="utf-8"))["data"]
    found = [p for article in data for p in article["paragraphs"]]
    for p in found:
        for q in p["qas"]:
            assert q["answers"]
            for answer in q["answers"]:
                start, text = answer["answer_start"], answer["text"]
                assert p["context"][start : start + len(text)] == text, q["question"]
    return [(p["context"], [q["question"] for q in p["qas"]]) for p in found]


def words_of(text: str) -> list[str]:
    """In lower case, without punctuation, in one form of Unicode."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def runs_of(texts: Iterable[str], length: int) -> set[tuple[str, ...]]:
    """All runs of that many words."""
    words = (words_of(text) for text in texts)
    return {tuple(w[i : i + length]) for w in words for i in range(len(w) - length + 1)}


def all_texts(name: str) -> list[str]:
    return [text for context, questions in paragraphs(name) for text in (context, *questions)]


def texts(task: str, split: str) -> list[list[str]]:
    """What a model reads of each example, in lower case."""
    if task in TABLES:
        rows = [row[:-1] for row in table(task, split)]
    elif task == "tagging":
        rows = [[" ".join(token for token, _ in s)] for s in sentences(split)]
    elif task == "multiple_choice":
        rows = [
            [str(row["sent1"]), *(str(row[name]) for name in ENDINGS)] for row in choices(split)
        ]
    else:
        rows = [[line] for line in lines(split)]
    return [[text.lower() for text in row] for row in rows]


# Two questions of `train` ask for the capitals of other empires: seven words are those of one of
# the three. What was written later has no five words in a row of them.
@pytest.mark.parametrize(("name", "most"), [("train", 7), ("train_more", 4), ("dev", 7)])
def test_the_three_questions_and_their_paragraphs_are_in_no_other_file(
    name: str, most: int
) -> None:
    asked = all_texts("ask")
    assert not runs_of(asked, most + 1) & runs_of(all_texts(name), most + 1)
    # Nor a sentence or question of fewer words, nor one of their names.
    short = [s for text in asked for s in re.split(r"(?<=[.?])\s", text)]
    known = {tuple(words_of(s)) for t in all_texts(name) for s in re.split(r"(?<=[.?])\s", t)}
    assert not {tuple(words_of(s)) for s in short} & known
    words = {word for text in all_texts(name) for word in words_of(text)}
    assert not words & {"quanttech", "lotus", "solberg", "samarkand", "timur", "timurid", "ulugh"}
    assert not words & {"gastropod", "gastropods", "sulfide", "scaly"}


def test_no_paragraph_or_question_of_training_is_held_out() -> None:
    held_out = paragraphs("dev")
    assert sum(len(questions) for _, questions in held_out) == 60
    seen = runs_of([*all_texts("train"), *all_texts("train_more")], 8)
    assert not seen & runs_of(all_texts("dev"), 8)


@pytest.mark.parametrize(
    ("task", "train", "dev"),
    [
        ("classification", 240, 60),
        ("pairs", 240, 60),
        ("regression", 240, 60),
        ("tagging", 220, 60),
        ("multiple_choice", 160, 40),
        ("mlm", 300, 60),
    ],
)
def test_counts_and_no_text_twice(task: str, train: int, dev: int) -> None:
    seen, unseen = texts(task, "train"), texts(task, "dev")
    assert (len(seen), len(unseen)) == (train, dev)
    # A pair is the same pair the other way round.
    assert max(Counter(tuple(sorted(row)) for row in seen + unseen).values()) == 1
    assert not set(itertools.chain(*seen)) & set(itertools.chain(*unseen))


@pytest.mark.parametrize("split", ["train", "dev"])
@pytest.mark.parametrize("task", ["classification", "pairs"])
def test_each_class_has_the_same_share(task: str, split: str) -> None:
    rows = table(task, split)
    count = Counter(row[-1] for row in rows)
    assert count == dict.fromkeys(CLASSES[task], len(rows) // len(CLASSES[task]))


@pytest.mark.parametrize("split", ["train", "dev"])
def test_scores_are_spread_evenly_from_0_to_5(split: str) -> None:
    rows = table("regression", split)
    count = Counter(float(row[-1]) for row in rows)
    assert sorted(count) == [n / 2 for n in range(11)]
    assert max(count.values()) <= 1.25 * min(count.values())


@pytest.mark.parametrize("split", ["train", "dev"])
def test_tags_are_valid_bio(split: str) -> None:
    data = sentences(split)
    assert all(len(pair) == 2 and pair[0] and pair[1] in TAGS for s in data for pair in s)
    for sentence in data:
        tags = ["O", *(tag for _, tag in sentence)]
        for before, tag in itertools.pairwise(tags):
            assert tag[0] != "I" or before[1:] == tag[1:], sentence
    assert {tag for s in data for _, tag in s} == TAGS
    assert any(all(tag == "O" for _, tag in s) for s in data), "some sentences name nothing"


@pytest.mark.parametrize("split", ["train", "dev"])
def test_choices_have_four_endings_and_an_even_label(split: str) -> None:
    data = choices(split)
    assert all(list(row) == ["sent1", "sent2", *ENDINGS, "label"] for row in data)
    assert all(len({row[name] for name in ENDINGS}) == 4 for row in data)
    assert Counter(row["label"] for row in data) == dict.fromkeys(range(4), len(data) // 4)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_the_right_ending_is_not_told_by_its_length(split: str) -> None:
    data = choices(split)
    lengths = [[len(str(row[name])) for name in ENDINGS] for row in data]
    for extreme in (min, max):
        hits = sum(
            row["label"] == ending.index(extreme(ending))
            for row, ending in zip(data, lengths, strict=True)
        )
        assert hits <= len(data) / 3


@pytest.mark.parametrize("split", ["train", "dev"])
def test_lines_of_running_text_have_20_to_60_words(split: str) -> None:
    assert all(20 <= len(line.split()) <= 60 and line.isprintable() for line in lines(split))
