"""Entities and their scores: by hand, by construction, and against seqeval on any sequence."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval import metrics as seqeval
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB2, IOBES, IOE2, Entities, auto_detect

from jaxbert.metrics.entities import (
    Mode,
    entities,
    entity_report,
    entity_scores,
    find_scheme,
    left_out_when_strict,
    odd_tags,
)

fixed = settings(deadline=None, derandomize=True, max_examples=50)

MODES = pytest.mark.parametrize("mode", get_args(Mode))
SCHEMES = pytest.mark.parametrize("scheme", ["bio", "bioes", "ioe"])
STRICT = {"bio": IOB2, "bioes": IOBES, "ioe": IOE2}
TYPES = ["PER", "LOC.NAM", "A-B"]


def tags_of(letters: str) -> st.SearchStrategy[str]:
    """Any tag of a scheme, whatever stands before it."""
    typed = [f"{letter}-{name}" for letter in letters for name in TYPES]
    return st.sampled_from(["O", "O", *typed, *letters])


TAGS = {"bio": tags_of("BI"), "bioes": tags_of("BIES"), "ioe": tags_of("IE")}


@st.composite
def sentences(draw: st.DrawFn, scheme: str) -> list[list[list[str]]]:
    """Predictions and references of 1 to 4 sentences, alike in most words."""
    references = draw(st.lists(st.lists(TAGS[scheme], min_size=1, max_size=7), min_size=1))
    predictions = [
        [draw(TAGS[scheme]) if draw(st.integers(0, 3)) == 0 else tag for tag in tags]
        for tags in references
    ]
    return [predictions, references]


def tags(text: str) -> list[str]:
    return text.split()


# --- which scheme -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        ("O B-PER I-PER", "bio"),
        ("O B-PER.NAM I-PER.NAM B-GPE.NOM", "bio"),
        ("B I O", "bio"),
        ("B I", "bio"),
        ("O I-PER I-LOC B-LOC", "bio"),  # IOB1
        ("O B-PER", "bio"),
        ("O B-PER I-PER E-PER S-PER", "bioes"),
        ("O S-PER", "bioes"),
        ("B-PER I-PER L-PER U-PER O", "bioes"),  # BILOU
        ("B-NAME M-NAME E-NAME S-NAME O", "bioes"),  # BMES
        ("B M E S", "bioes"),  # Chinese word segmentation
        ("NOUN VERB ADJ", None),
        ("NN VB B-NP I-NP O", None),  # some are chunks, and some are not
        ("O B-PER I-PER X", None),
        ("O B_PER I_PER", None),
        ("O BPER IPER", None),
        ("o b-per i-per", None),
        ("O-PER B-PER", None),
        ("B-PER L-PER S-PER O", None),  # of no one scheme
        ("I E S", None),
        ("O I-PER E-PER", "ioe"),  # IOE2
        ("I-PER E-PER", "ioe"),
        ("O E-PER", "ioe"),
        ("E-PER", None),
        ("O I-PER E-PER S-PER", "bioes"),
        ("S-1 S-2", None),
        ("0 1", None),
        ("O", None),
        ("", None),
    ],
)
def test_find_scheme(labels: str, scheme: str | None) -> None:
    assert find_scheme(labels.split()) == scheme
    assert find_scheme(["", *labels.split()]) is None


# --- entities ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "sentence", "default", "strict"),
    [
        ("bio", "O O O", [], []),
        ("bio", "", [], []),
        # The README, and the docstrings of get_entities and Tokens.
        ("bio", "B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)], ...),
        ("bio", "B-PER I-PER O", [("PER", 0, 1)], ...),
        ("bio", "O O O B-MISC I-MISC I-MISC O", [("MISC", 3, 5)], ...),
        ("bio", "O O B-MISC I-MISC B-MISC I-MISC O", [("MISC", 2, 3), ("MISC", 4, 5)], ...),
        ("bio", "B-NP I-NP O", [("NP", 0, 1)], ...),
        ("bio", "I-NP I-NP O", [("NP", 0, 1)], []),  # the strict mode's own example
        # Sequences that BIO does not allow.
        ("bio", "O I-PER", [("PER", 1, 1)], []),
        ("bio", "B-PER I-LOC", [("PER", 0, 0), ("LOC", 1, 1)], [("PER", 0, 0)]),
        ("bio", "I-PER B-PER", [("PER", 0, 0), ("PER", 1, 1)], [("PER", 1, 1)]),
        (
            "bio",
            "B-PER I-LOC I-PER",
            [("PER", 0, 0), ("LOC", 1, 1), ("PER", 2, 2)],
            [("PER", 0, 0)],
        ),
        ("bio", "B-PER B-PER", [("PER", 0, 0), ("PER", 1, 1)], ...),
        ("bio", "B-PER B-LOC", [("PER", 0, 0), ("LOC", 1, 1)], ...),
        ("bio", "B I O B", [("_", 0, 1), ("_", 3, 3)], ...),
        ("bio", "B-A-B I-A-B", [("A-B", 0, 1)], ...),
        ("bioes", "B-PER I-PER E-PER S-LOC O", [("PER", 0, 2), ("LOC", 3, 3)], ...),
        ("bioes", "B-PER E-PER B-PER E-PER", [("PER", 0, 1), ("PER", 2, 3)], ...),
        ("bioes", "B-PER O", [("PER", 0, 0)], []),  # has no end
        ("bioes", "E-PER", [("PER", 0, 0)], []),  # has no beginning
        ("bioes", "B-PER I-PER S-PER", [("PER", 0, 1), ("PER", 2, 2)], [("PER", 2, 2)]),
        ("bioes", "B-PER E-LOC", [("PER", 0, 0), ("LOC", 1, 1)], []),
        ("bioes", "S-PER E-PER", [("PER", 0, 0), ("PER", 1, 1)], [("PER", 0, 0)]),
        # IOE2: an entity ends with E.
        ("ioe", "I-PER E-PER O E-LOC", [("PER", 0, 1), ("LOC", 3, 3)], ...),
        ("ioe", "I-PER E-PER I-PER E-PER", [("PER", 0, 1), ("PER", 2, 3)], ...),
        ("ioe", "E-PER E-PER", [("PER", 0, 0), ("PER", 1, 1)], ...),
        ("ioe", "I-PER O", [("PER", 0, 0)], []),
        # Other letters for the same.
        ("bioes", "B-PER I-PER L-PER U-LOC O", [("PER", 0, 2), ("LOC", 3, 3)], ...),
        ("bioes", "B-NAME M-NAME E-NAME S-NAME", [("NAME", 0, 2), ("NAME", 3, 3)], ...),
        ("bioes", "B M E S B E", [("_", 0, 2), ("_", 3, 3), ("_", 4, 5)], ...),
    ],
)
def test_entities_by_hand(scheme, sentence, default, strict) -> None:
    found = [entities(tags(sentence), scheme=scheme, mode=mode) for mode in get_args(Mode)]
    assert found == [default, default if strict is ... else strict]


@SCHEMES
@fixed
@given(data=st.data())
def test_entities_equal_seqeval(scheme, data) -> None:
    sentence = data.draw(st.lists(TAGS[scheme], max_size=9))
    default = entities(sentence, scheme=scheme)
    strict = entities(sentence, scheme=scheme, mode="strict")
    assert default == get_entities(sentence)
    theirs = Entities([sentence], STRICT[scheme]).entities[0]
    assert strict == [(e.tag, e.start, e.end - 1) for e in theirs]


@MODES
@pytest.mark.parametrize("letters", ["BIIB", "BIES", "BILU", "BMES", "IIEE"])
@fixed
@given(spans=st.lists(st.tuples(st.sampled_from(TYPES), st.integers(1, 4), st.integers(0, 2))))
def test_written_entities_are_found_again(mode, letters, spans) -> None:
    begin, inside, end, single = letters  # of BIO the last is I and a single word is B
    sentence: list[str] = []
    written = []
    for name, length, gap in spans:
        sentence += ["O"] * gap
        written.append((name, len(sentence), len(sentence) + length - 1))
        middle = inside * (length - 2)
        word = single if length == 1 else begin + middle + end
        sentence += [f"{letter}-{name}" for letter in word]
    scheme = {"BIIB": "bio", "IIEE": "ioe"}.get(letters, "bioes")
    assert entities(sentence, scheme=scheme, mode=mode) == written


@fixed
@given(st.lists(tags_of("BILU"), max_size=9))
def test_strict_bilou_equals_seqeval(sentence) -> None:
    theirs = Entities([sentence], BILOU).entities[0]
    expected = [(e.tag, e.start, e.end - 1) for e in theirs]
    assert entities(sentence, scheme="bioes", mode="strict") == expected


@fixed
@given(
    st.sets(st.sampled_from([f"{letter}-{name}" for letter in "BIELSU" for name in "XY"] + ["O"]))
)
def test_schemes_that_seqeval_detects(labels) -> None:
    """Those that it knows we know by the same name; we know IO and E and S beside O as well."""
    try:
        theirs = auto_detect([sorted(labels)])
    except ValueError:
        return
    ours = {IOB2: "bio", IOE2: "ioe", IOBES: "bioes", BILOU: "bioes"}[theirs]
    letters = {label[0] for label in labels}
    alone = not letters & {"O", "B"} and letters != {"I", "E"}  # S-1, S-2 are no chunks
    assert find_scheme(labels) == (None if alone else ours)


@pytest.mark.parametrize(
    ("sentence", "odd", "others"),
    [
        ("B-PER I-PER O B-LOC 0 O", "0", "B-LOC B-PER I-PER O"),
        ("B-PER I-PER O B_LOC O", "B_LOC", "B-PER I-PER O"),
        ("B-PER I-PER O b-loc O", "b-loc", "B-PER I-PER O"),
        ("B-PER I-PER O O o -", "- o", "B-PER I-PER O"),
        ("B-PER I-PER L-PER U-LOC O S-LOC", "S-LOC", "B-PER I-PER L-PER O U-LOC"),
        ("I-PER E-PER O O I-PER X-PER", "X-PER", "E-PER I-PER O"),
        ("B M E S B E X", "X", "B E M S"),
        ("B_PER I_PER O", "B_PER I_PER", "B-PER I-PER"),
        ("b-per i-per o", "b-per i-per", "B-PER I-PER"),
        ("B:PER I:PER O", "B:PER I:PER", "B-PER I-PER"),
        ("B-PER O", "", ""),
        ("NOUN VERB O X", "", ""),
        ("NN VB B-NP", "", ""),
        ("O O O", "", ""),
        ("0 1", "", ""),
        ("", "", ""),
    ],
)
def test_the_tags_that_are_odd(sentence, odd, others) -> None:
    assert odd_tags(tags(sentence)) == (tags(odd), tags(others))


def test_entities_that_the_strict_mode_leaves_out() -> None:
    iob1 = [tags("I-PER I-PER O I-LOC B-LOC"), tags("O O")]
    assert left_out_when_strict(iob1, "bio") == (2, 3)
    assert left_out_when_strict([tags("B-PER I-PER O B-LOC")], "bio") == (0, 2)
    assert left_out_when_strict([tags("I-PER E-PER O I-LOC")], "ioe") == (1, 2)


@MODES
@pytest.mark.parametrize(
    ("scheme", "tag"),
    [("bio", "S-PER"), ("bio", "M-PER"), ("bioes", "NN"), ("bio", ""), ("bio", "b")],
)
def test_a_tag_of_another_scheme(mode, scheme, tag) -> None:
    message = f"'{tag}' is not a tag of the scheme {scheme}"
    with pytest.raises(ValueError, match=message):
        entities(["O", tag], scheme=scheme, mode=mode)
    with pytest.raises(ValueError, match=message):
        entity_scores([["O", tag]], [["O", "O"]], scheme=scheme, mode=mode)
    with pytest.raises(ValueError, match=message):
        entity_report([["O", "O"]], [["O", tag]], scheme=scheme, mode=mode)


# --- scores -----------------------------------------------------------------------------------

# Sentences of seqeval's README and docstrings: references, predictions, (mode, p, r, f1, accuracy).
README = (
    ["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"],
    ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"],
)
DOCSTRING = (
    ["O O B-MISC I-MISC B-MISC O O", "B-PER I-PER O"],
    ["O O B-MISC I-MISC B-MISC I-MISC O", "B-PER I-PER O"],
)
NO_B = (["B-NP I-NP O"], ["I-NP I-NP O"])


@pytest.mark.parametrize(
    ("case", "scheme", "mode", "expected"),
    [
        (README, "bio", "default", (1 / 2, 1 / 2, 1 / 2, 8 / 10)),
        (README, "bio", "strict", (1 / 2, 1 / 2, 1 / 2, 8 / 10)),
        (DOCSTRING, "bio", "default", (2 / 3, 2 / 3, 2 / 3, 9 / 10)),
        (DOCSTRING, "bio", "strict", (2 / 3, 2 / 3, 2 / 3, 9 / 10)),
        (NO_B, "bio", "default", (1, 1, 1, 2 / 3)),
        (NO_B, "bio", "strict", (0, 0, 0, 2 / 3)),
        # Two predicted of which one is right; three there.
        ((["B-A O B-A B-B"], ["B-A O O B-A"]), "bio", "default", (1 / 2, 1 / 3, 2 / 5, 2 / 4)),
        # In strict mode the prediction O I-A is no entity, so precision does not suffer.
        ((["B-A O O"], ["B-A O I-A"]), "bio", "default", (1 / 2, 1, 2 / 3, 2 / 3)),
        ((["B-A O O"], ["B-A O I-A"]), "bio", "strict", (1, 1, 1, 2 / 3)),
        # The same words in two sentences are two entities; none crosses from one to the next.
        ((["B-A", "I-A"], ["B-A", "I-A"]), "bio", "default", (1, 1, 1, 1)),
        ((["B-A", "I-A"], ["B-A", "O"]), "bio", "default", (1, 1 / 2, 2 / 3, 1 / 2)),
        ((["B-A E-A S-B"], ["B-A E-A O"]), "bioes", "strict", (1, 1 / 2, 2 / 3, 2 / 3)),
        ((["B-A E-A"], ["B-A I-A"]), "bioes", "default", (1, 1, 1, 1 / 2)),
        ((["B-A E-A"], ["B-A I-A"]), "bioes", "strict", (0, 0, 0, 1 / 2)),
        ((["B-A L-A U-B"], ["B-A L-A O"]), "bioes", "default", (1, 1 / 2, 2 / 3, 2 / 3)),
        ((["I-A E-A O E-B"], ["I-A E-A O E-B"]), "ioe", "strict", (1, 1, 1, 1)),
        ((["I-A E-A O E-B"], ["I-A I-A O E-B"]), "ioe", "strict", (1, 1 / 2, 2 / 3, 3 / 4)),
        ((["B E S S"], ["B E B E"]), "bioes", "default", (1 / 2, 1 / 3, 2 / 5, 2 / 4)),
        ((["B-A O"], ["O O"]), "bio", "default", (0, 0, 0, 1 / 2)),
        ((["O O"], ["O O"]), "bio", "strict", (0, 0, 0, 1)),
        ((["O", ""], ["O", ""]), "bio", "default", (0, 0, 0, 1)),
        ((["NN VB", "DT"], ["NN NN", "DT"]), None, "default", (2 / 3,)),
    ],
)
def test_scores_by_hand(case, scheme, mode, expected) -> None:
    references, predictions = ([tags(text) for text in texts] for texts in case)
    scores = entity_scores(predictions, references, scheme=scheme, mode=mode)
    names = ("precision", "recall", "f1", "accuracy")[-len(expected) :]
    assert scores == pytest.approx(dict(zip(names, expected, strict=True)))
    assert all(type(score) is float for score in scores.values())


def score_with_seqeval(predictions, references, scheme, mode) -> dict[str, float]:
    strict = {"mode": "strict", "scheme": STRICT[scheme]} if mode == "strict" else {}
    measures = {
        "precision": seqeval.precision_score,
        "recall": seqeval.recall_score,
        "f1": seqeval.f1_score,
    }
    scores = {
        name: measure(references, predictions, zero_division=0, **strict)
        for name, measure in measures.items()
    }
    return {**scores, "accuracy": seqeval.accuracy_score(references, predictions)}


@MODES
@SCHEMES
@fixed
@given(data=st.data())
def test_scores_equal_seqeval_and_a_count(mode, scheme, data) -> None:
    predictions, references = data.draw(sentences(scheme))
    scores = entity_scores(predictions, references, scheme=scheme, mode=mode)
    assert scores == score_with_seqeval(predictions, references, scheme, mode)
    # The definition: entities of equal place and type, over all sentences.
    there, given_ = (
        {(n, *e) for n, s in enumerate(part) for e in entities(s, scheme=scheme, mode=mode)}
        for part in (references, predictions)
    )
    right = len(there & given_)
    assert scores["precision"] == pytest.approx(right / max(len(given_), 1))
    assert scores["recall"] == pytest.approx(right / max(len(there), 1))
    assert scores["f1"] == pytest.approx(2 * right / max(len(there) + len(given_), 1))


@MODES
@SCHEMES
@fixed
@given(data=st.data())
def test_report_equals_the_scores_of_one_type(mode, scheme, data) -> None:
    predictions, references = data.draw(sentences(scheme))
    report = entity_report(predictions, references, scheme=scheme, mode=mode)
    json.dumps(report)  # plain numbers
    assert list(report) == sorted(report)
    found = [
        {(n, *e) for n, s in enumerate(part) for e in entities(s, scheme=scheme, mode=mode)}
        for part in (references, predictions)
    ]
    assert set(report) == {e[1] for part in found for e in part}
    for name, row in report.items():
        there, given_ = ({e for e in part if e[1] == name} for part in found)
        assert row == pytest.approx(
            {
                "precision": len(there & given_) / max(len(given_), 1),
                "recall": len(there & given_) / max(len(there), 1),
                "f1": 2 * len(there & given_) / (len(there) + len(given_)),
                "support": len(there),
            }
        )


def test_report_by_hand() -> None:
    references, predictions = ([tags(text) for text in texts] for texts in README)
    assert entity_report(predictions, references, scheme="bio") == {
        "MISC": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        "PER": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1},
    }
    assert entity_report([["O"]], [["O"]], scheme="bio") == {}


@pytest.mark.parametrize("score", [entity_scores, entity_report])
@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([["O"]], [["O"], ["O"]], "1 predictions for 2 references"),
        ([["O"], ["O"]], [["O"], ["O", "O"]], "sentence 1 has 2 words and 1 predictions"),
        ([], [], "no words"),
        ([[]], [[]], "no words"),
    ],
)
def test_faulty_sentences(score, predictions, references, message) -> None:
    with pytest.raises(ValueError, match=message):
        score(predictions, references, scheme="bio")
