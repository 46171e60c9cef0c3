"""Question-answering scores against hand-computed cases, official goldens and brute force."""

import inspect
import math
import re
import string
import subprocess
import sys

import nltk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.metrics import answer_scores
from jaxbert.metrics.answer_scores import (
    cmrc2018_scores,
    normalize_answer,
    normalize_answers,
    squad_scores,
    squad_v2_scores,
)

fixed = settings(deadline=None, derandomize=True, max_examples=50)

WORDS = st.sampled_from(
    ["the", "A", "an", "cat", "Cat", "dog's", "U.S.", "é", "...", "1,000", "北", "京", "，"]
)
TEXTS = st.lists(WORDS, max_size=5).map(" ".join)
ANSWERS = st.lists(TEXTS, min_size=1, max_size=3)
# Without texts that only normalise to nothing: the official threshold search counts those as wrong.
REAL_TEXTS = st.one_of(st.just(""), TEXTS.filter(normalize_answer))


@st.composite
def v2_cases(draw):
    """Predictions, references and distinct positive odds of 1 to 8 questions."""
    odds = draw(st.lists(st.integers(1, 50), min_size=1, max_size=8, unique=True))
    ids = [f"q{i}" for i in range(len(odds))]
    references = {q: draw(st.lists(TEXTS.filter(normalize_answer), max_size=2)) for q in ids}
    predictions = {
        q: draw(st.one_of(REAL_TEXTS, st.sampled_from(references[q] or [""]))) for q in ids
    }
    return predictions, references, dict(zip(ids, (o / 8 for o in odds), strict=True))


def score_one(score, prediction, *answers):
    result = score({"q": prediction}, {"q": list(answers)})
    return result["exact_match"], pytest.approx(result["f1"])


# What the official scripts gave on the data of the golden tests below (CMRC: with nltk's model).
SQUAD_GOLDEN = {"exact_match": 25.0, "f1": 62.083333333333336, "total": 8}
SQUAD_V2_GOLDEN = {
    "exact": 45.45454545454545,
    "f1": 65.15151515151514,
    "total": 11,
    "HasAns_exact": 25.0,
    "HasAns_f1": 52.08333333333333,
    "HasAns_total": 8,
    "NoAns_exact": 100.0,
    "NoAns_f1": 100.0,
    "NoAns_total": 3,
    "best_exact": 36.36363636363637,
    "best_exact_thresh": 0.3,
    "best_f1": 56.06060606060607,
    "best_f1_thresh": 0.3,
    "pr_exact_ap": 7.738095238095238,
    "pr_f1_ap": 35.106812169312164,
    "pr_oracle_ap": 81.16432178932178,
    "exact_match": 45.45454545454545,
}
CMRC_GOLDEN = {
    "exact_match": 0.0,
    "f1": 56.092277820218996,
    "average": 28.046138910109498,
    "total": 8,
    "skip": 1,
}


# --- normalisation ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("The", ""),
        ("an A the", ""),
        ("THEATRE, a-the  an", "theatre athe"),  # punctuation goes before articles are sought
        ("the\u00a0cat\tsat\n", "cat sat"),
        ("U.S.'s #1!", "uss 1"),
        ("“é”—Ä", "“é”—ä"),  # only ASCII punctuation is dropped
        ("l'a b", "la b"),
        ("«a»", "« »"),  # articles are found beside other punctuation
    ],
)
def test_normalize_answer(text, expected):
    assert normalize_answer(text) == expected


def official_normal_form(text):
    """normalize_answer of evaluate-v1.1.py, its four steps as they stand there."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


# What lies at the edge of a text: parts of articles, a sigma that ends a word, nulls, other spaces.
PIECES = st.sampled_from(["a", "an", "the", "t", "he", "n", "Σ", "é", "«", "_", "'", " ", "\u2003"])
EDGES = st.lists(PIECES | st.characters(), max_size=6).map("".join)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.lists(EDGES | st.sampled_from(["\0", "a\0the", ""]), max_size=4))
def test_many_normalised_at_once_are_the_official_forms(texts):
    assert normalize_answers(texts) == [official_normal_form(text) for text in texts]


# --- SQuAD v1.1 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("The cat!", ["cat"], 100, 100),
        ("cat cat dog", ["cat dog dog"], 0, 100 * 2 / 3),  # repeated tokens count once per pair
        ("cat cat", ["cat"], 0, 100 * 2 / 3),
        ("black cat", ["white dog", "cat", "black dog"], 0, 100 * 2 / 3),
        ("x y", ["x", "y"], 0, 100 * 2 / 3),  # ties among the answers
        ("x y", ["x", "y", "Y x."], 0, 100),  # a bag of tokens: the order is lost
        ("NAÏVE", ["naïve"], 100, 100),
        ("北京 大学", ["北京 大", "北京大学"], 0, 50),
        ("", ["cat"], 0, 0),
        ("", ["the"], 100, 0),  # two empty answers match, but share no token
        ("a", ["..."], 100, 0),
    ],
)
def test_squad_by_hand(prediction, answers, exact, f1):
    assert score_one(squad_scores, prediction, *answers) == (exact, f1)


def test_squad_averages_over_unanswered_questions_too():
    references = {"1": ["x"], "2": ["y z"], "3": ["w"], "4": ["v"]}
    scores = squad_scores({"1": "x", "2": "y", "5": "v"}, references)
    assert scores == {"exact_match": 25.0, "f1": pytest.approx(100 * 5 / 12), "total": 4}


SQUAD = {
    "q1": ("the Denver Broncos", ["Denver Broncos", "The Denver Broncos"]),
    "q2": ("Santa Clara, California.", ["Levi's Stadium", "Santa Clara", "in Santa Clara CA"]),
    "q3": ("gold gold gold", ["golden", "a gold themed gold"]),
    "q4": ("", ["308"]),
    "q5": ("Café  de la Paix", ["café", "de la paix café", "Cafe de la Paix"]),
    "q6": ("24–10", ["24-10", "24–10 the"]),
    "q7": ("1880s and 1990s", ["the 1880s", "in the late 1990s and 2000s"]),
}
PREDICTIONS = {question: prediction for question, (prediction, _) in SQUAD.items()}
REFERENCES = {question: answers for question, (_, answers) in SQUAD.items()}


def test_squad_golden():
    assert squad_scores(PREDICTIONS, {**REFERENCES, "q8": ["not predicted"]}) == SQUAD_GOLDEN


# --- SQuAD v2.0 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("", [], 100, 100),
        ("the", [], 100, 100),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("", ["the", "..."], 100, 100),  # references that normalise to nothing are dropped,
        ("", ["the", "cat"], 0, 0),  # but not if another one is left
        ("cat", ["", "cat dog"], 0, 100 * 2 / 3),
    ],
)
def test_squad_v2_by_hand(prediction, answers, exact, f1):
    assert score_one(squad_v2_scores, prediction, *answers) == (exact, f1)


def test_squad_v2_splits_and_threshold():
    predictions = {"1": "x", "2": "y", "3": "z", "4": ""}
    references = {"1": ["x"], "2": ["y w"], "3": [], "4": []}
    plain = squad_v2_scores(predictions, references)
    assert plain == {
        "exact": 50.0,
        "exact_match": 50.0,
        "f1": pytest.approx(100 * (1 + 2 / 3 + 1) / 4),
        "total": 4,
        "HasAns_exact": 50.0,
        "HasAns_f1": pytest.approx(100 * 5 / 6),
        "HasAns_total": 2,
        "NoAns_exact": 50.0,
        "NoAns_f1": 50.0,
        "NoAns_total": 2,
    }
    odds = {"1": 2.0, "2": 1.0, "3": 1.5, "4": 0.0}
    cut = squad_v2_scores(predictions, references, odds)  # above 1.0, not at it
    assert (cut["HasAns_f1"], cut["NoAns_f1"]) == (pytest.approx(100 / 3), 100.0)
    uncut = squad_v2_scores(predictions, references, odds, threshold=math.inf)
    assert {key: uncut[key] for key in plain} == plain


def test_squad_v2_best_threshold_and_average_precision_by_hand():
    # By rising odds: right (1), wrong (-1), right (+1), half right (+2/3 in F1), wrong (-1).
    predictions = {"a": "x", "b": "y", "c": "z", "d": "u v w", "e": "t"}
    references = {"a": ["x"], "b": [], "c": ["z"], "d": ["u v k"], "e": []}
    odds = {"e": 5.0, "d": 4.0, "c": 3.0, "b": 2.0, "a": 1.0}
    scores = squad_v2_scores(predictions, references, odds, threshold=math.inf)
    assert (scores["best_exact"], scores["best_exact_thresh"]) == (60.0, 1.0)
    assert scores["best_f1"] == pytest.approx(100 * (2 + 1 + 2 / 3) / 5)
    assert scores["best_f1_thresh"] == 4.0
    assert scores["pr_exact_ap"] == pytest.approx(100 * (1 + 2 / 3) / 3)
    f1_area = 1 / 3 + 2 / 3 / 3 + (2 + 2 / 3) / 4 * (2 / 3) / 3
    assert scores["pr_f1_ap"] == pytest.approx(100 * f1_area)
    assert scores["pr_oracle_ap"] == pytest.approx(100 * (1 + 2 / 3 + 3 / 4) / 3)


def test_squad_v2_one_kind_of_question():
    only_null = squad_v2_scores({"q": ""}, {"q": []}, {"q": 0.5})
    assert not any(key.startswith(("HasAns", "pr_")) for key in only_null)
    assert (only_null["best_f1"], only_null["best_f1_thresh"]) == (100.0, 0.0)
    assert not any(k.startswith("NoAns") for k in squad_v2_scores({"q": "x"}, {"q": ["x"]}))


def test_squad_v2_needs_every_prediction_and_odds():
    with pytest.raises(KeyError, match=r"1 questions .* 'q2'"):
        squad_v2_scores({"q1": "x"}, {"q1": ["x"], "q2": []})
    with pytest.raises(KeyError, match=r"1 questions .* 'q1'"):
        squad_v2_scores({"q1": "x"}, {"q1": ["x"]}, {})


def test_squad_v2_golden():
    predictions = {**PREDICTIONS, "n1": "", "n2": "The", "n3": "Wales", "n4": "a dog"}
    references = {**REFERENCES, "n1": [], "n2": [], "n3": [], "n4": ["the", "..."]}
    odds = {"n3": 0.7, "q1": 0.1, "q2": 0.7, "q3": 0.3, "q4": 1.25, "q5": 0.2, "q6": 0.3}
    odds |= {"q7": -2.5, "n1": 0.9, "n2": 0.05, "n4": 0.3}
    assert squad_v2_scores(predictions, references, odds, 0.5) == SQUAD_V2_GOLDEN


@fixed
@given(v2_cases())
def test_squad_v2_best_threshold_is_the_best_of_all(case):
    predictions, references, odds = case
    best = squad_v2_scores(predictions, references, odds)
    for name in ("exact", "f1"):
        by_threshold = {
            threshold: squad_v2_scores(predictions, references, odds, threshold)[name]
            for threshold in (0.0, *odds.values())
        }
        assert best[f"best_{name}"] == pytest.approx(max(by_threshold.values()))
        assert by_threshold[best[f"best_{name}_thresh"]] == pytest.approx(best[f"best_{name}"])


@fixed
@given(v2_cases(), st.integers(1, 8))
def test_squad_v2_average_precision_by_its_definition(case, ties):
    predictions, references, odds = case
    odds = {question: odds[question] // ties for question in odds}
    if not any(references.values()):
        return
    scores = squad_v2_scores(predictions, references, odds)
    answerable = [question for question in references if references[question]]
    area = recall = 0.0
    for threshold in sorted(set(odds.values())):
        answered = [question for question in odds if odds[question] <= threshold]
        found = sum(
            squad_scores(predictions, {q: references[q]})["f1"] / 100
            for q in answered
            if q in answerable
        )
        area += found / len(answered) * (found / len(answerable) - recall)
        recall = found / len(answerable)
    assert scores["pr_f1_ap"] == pytest.approx(100 * area)


# --- CMRC 2018 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("《红楼梦》。", ["红楼梦"], 100, 100),
        ("红楼梦", ["红 楼梦"], 0, 100),  # spaces matter to exact match alone
        ("约1889年3月", ["1889年"], 0, 100 * 2 * (2 / 5) / (1 + 2 / 5)),
        ("ABCD北", ["abcd京", "北京"], 0, 50),  # a word is one segment
        ("红黑楼", ["红楼"], 0, 100 * 2 * (1 / 3 * 1 / 2) / (1 / 3 + 1 / 2)),  # contiguous
        ("甲乙甲乙", ["甲乙"], 0, 100 * 2 / 3),
        ("甲乙", ["丙", "甲丁", "乙戊"], 0, 50),
        ("Jean-Pierre", ["jeanpierre"], 100, 100),  # dropped punctuation joins its neighbours
        ("A（B", ["ab"], 100, 100),
        ("\u9fa6\u9fa6甲", ["\u9fa6甲"], 0, 50),  # past U+9FA5 a character is no segment
        ("……", ["…"], 0, 0),  # ellipses stay
        ("", ["。"], 100, 0),
        ("", ["北"], 0, 0),
        (" 。 北", ["北"], 0, 100),  # spaces go before punctuation does
    ],
)
def test_cmrc_by_hand(prediction, answers, exact, f1):
    assert score_one(cmrc2018_scores, prediction, *answers) == (exact, f1)


def test_cmrc_counts_skipped_questions():
    scores = cmrc2018_scores({"1": "北京", "9": "x"}, {"1": ["北京"], "2": ["上海"]})
    assert scores == {"exact_match": 50.0, "f1": 50.0, "average": 50.0, "total": 2, "skip": 1}


def test_cmrc_golden():
    cases = {
        "q1": ("由Dr. Smith于1981年创立。", ["Dr. Smith", "由dr. smith在1981年"]),
        "q2": ("“Hello. Goodbye!”是歌曲", ["hello. goodbye", "Hello! Goodbye."]),
        "q3": ("任天堂（Nintendo Co., Ltd.）公司", ["Nintendo Co., Ltd. 公司", "任天堂"]),
        "q4": ("约3.14平方公里", ["3.14平方公里", "约3", "314平方公里"]),
        "q5": ("it's Vol. 2 No. 5版", ["vol. 2", "第2卷No. 5版"]),
        "q6": ("J. R. R. Tolkien（1892年1月3日－1973年9月2日）", ["1892年1月3日", "托尔金"]),
        "q7": ("カタカナ与汉字……", ["カタカナ", "汉字……"]),
    }
    predictions = {question: prediction for question, (prediction, _) in cases.items()}
    references = {question: answers for question, (_, answers) in cases.items()}
    assert cmrc2018_scores(predictions, {**references, "q8": ["北京"]}) == CMRC_GOLDEN


@pytest.mark.parametrize(
    ("text", "tokens"),
    [  # as nltk.word_tokenize gives them with its English model
        ("dr. king jr. left. then", "dr. king jr. left . then"),
        ("vol. 2 no. 5", "vol . 2 no . 5"),
        ("j. r. r. tolkien", "j. r. r. tolkien"),
        ("u.s. route 3.14.", "u.s. route 3.14 ."),
        ('who? "me!" it\'s', "who ? `` me ! '' it 's"),
        (" ", ""),
    ],
)
def test_word_tokenizer_needs_no_model(monkeypatch, text, tokens):
    monkeypatch.setattr(nltk.data, "path", [])
    assert answer_scores._word_tokenize(text) == tokens.split()


def test_cmrc_takes_another_word_tokenizer():
    prediction, reference = {"q": "Calif. wine"}, {"q": ["calif."]}
    assert cmrc2018_scores(prediction, reference)["f1"] == pytest.approx(80)
    assert cmrc2018_scores(prediction, reference, str.split)["f1"] == pytest.approx(100 * 2 / 3)


@fixed
@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_longest_common_run_by_brute_force(left, right):
    runs = {left[i:j] for i in range(len(left)) for j in range(i + 1, len(left) + 1)}
    expected = max((len(run) for run in runs if run in right), default=0)
    assert answer_scores._longest_common_run(left, right) == expected


# --- all of them -----------------------------------------------------------------------------

SCORES = pytest.mark.parametrize("score", [squad_scores, squad_v2_scores, cmrc2018_scores])


@SCORES
@fixed
@given(st.dictionaries(st.sampled_from("abcd"), st.tuples(TEXTS, ANSWERS), min_size=1))
def test_bounds_and_order_of_references(score, cases):
    predictions = {question: prediction for question, (prediction, _) in cases.items()}
    references = {question: answers for question, (_, answers) in cases.items()}
    scores = score(predictions, references)
    assert all(0 <= scores[key] <= 100 for key in ("exact_match", "f1"))
    turned = {question: answers[::-1] for question, answers in references.items()}
    assert score(predictions, turned) == scores
    assert scores["total"] == len(cases)


@SCORES
@fixed
@given(ANSWERS, st.integers(0, 2))
def test_a_reference_as_prediction_scores_100(score, answers, index):
    answers = [answer for answer in answers if normalize_answer(answer.replace("，", ""))]
    if answers:
        assert score_one(score, answers[index % len(answers)], *answers) == (100, 100)


@SCORES
def test_no_questions_is_an_error(score):
    with pytest.raises(ValueError, match="no questions"):
        score({"q": "x"}, {})


def test_import_is_light():
    path = inspect.getsourcefile(answer_scores)
    code = (
        f"import runpy, sys; runpy.run_path({path!r}); print({{'jax', 'nltk'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
