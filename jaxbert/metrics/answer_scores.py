"""Official question-answering scores, as pure functions on the host.

Each public score maps question ids to texts, follows one official evaluation script to the last
digit (the same float operations in the same order) and returns percentages.  Every result has
the keys ``exact_match`` and ``f1``.  Predictions and odds for other questions are ignored.
"""

import re
import string
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby

# Question ids with the texts of their answers. As pairs an id may occur more than once, as it does
# in some published files.
References = Mapping[str, Sequence[str]] | Sequence[tuple[str, Sequence[str]]]

_NO_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
# As the official \b(a|an|the)\b; a search for a letter is faster than one for a boundary.
_ARTICLES = re.compile(r"[at](?:(?<=\ba)n?|(?<=\bt)he)\b")

# The characters cmrc2018_evaluate.py drops.  Its list also holds a two-character ellipsis that no
# single character can equal, so ellipses stay in the text, there and here.
_NO_CMRC_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CMRC_PIECES = re.compile("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")

# Everyday abbreviations whose period ends no sentence; all of them are in Punkt's English model.
_ABBREVIATIONS = (
    "adm bros co col corp dr ft gen inc jr lt ltd maj messrs mr mrs ms prof rep sen sr st vs "
    "a.m p.m ph.d d.c u.k u.n u.s u.s.a jan feb aug sept oct nov dec"
)


def normalize_answer(text: str) -> str:
    """Return ``text`` in lower case without ASCII punctuation, English articles and extra spaces.

    Source: ``normalize_answer`` of SQuAD's evaluate-v1.1.py and evaluate-v2.0.py.

    >>> normalize_answer(" The  U.S.  Army's answer, a tank! ")
    'us armys answer tank'
    """
    without_punctuation = text.lower().translate(_NO_ASCII_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", without_punctuation).split())


def normalize_answers(texts: Sequence[str]) -> list[str]:
    """Return ``normalize_answer`` of each text, in less time than one by one.

    >>> normalize_answers(["The U.S.", "us"])
    ['us', 'us']
    """
    # All as one text: a null character is no letter, no space and no punctuation, so nothing that
    # is done to a text reaches over it.
    parts = normalize_answer("\0".join(texts)).split("\0")
    if len(parts) != len(texts):  # some text has null characters of its own, or there is no text
        return [normalize_answer(text) for text in texts]
    return [part.strip() for part in parts]


def squad_scores(predictions: Mapping[str, str], references: References) -> dict[str, float]:
    """Score SQuAD v1.1 answers: exact match and token F1 against the best-matching reference.

    ``exact_match`` is the percentage of questions whose normalised prediction equals a normalised
    reference; ``f1`` is the mean bag-of-tokens F1 in percent; ``total`` counts the questions, each
    of those that share an id.  A question without a prediction scores 0.

    Source: Rajpurkar et al. 2016 (arXiv:1606.05250), section 6.1; evaluate-v1.1.py.

    >>> squad_scores({"q1": "the Eiffel tower", "q2": "Paris, France"},
    ...              {"q1": ["Eiffel Tower"], "q2": ["Paris", "in France"], "q3": ["1889"]})
    {'exact_match': 33.333333333333336, 'f1': 55.55555555555555, 'total': 3}
    """
    return squad_means(_answered(predictions, references), len(references))


def squad_means(pairs: Iterable[tuple[str, Sequence[str]]], total: int) -> dict[str, float]:
    """squad_scores of answers that come one by one, each with its references.

    Args:
        total: of the questions; those that do not come score 0.
    """
    # Plain addition, not sum(): from Python 3.12 sum() of floats rounds differently.
    exact_match = f1 = 0.0
    for prediction, answers in pairs:
        exact_match += _best(_same_answer, prediction, answers)
        f1 += _best(_token_f1, prediction, answers)
    exact_match, f1 = _percent(exact_match, total), _percent(f1, total)
    return {"exact_match": exact_match, "f1": f1, "total": total}


def squad_v2_scores(
    predictions: Mapping[str, str],
    references: References,
    null_odds: Mapping[str, float] | None = None,
    threshold: float = 1.0,
) -> dict[str, float]:
    """Score SQuAD v2.0 answers, where an empty reference list marks an unanswerable question.

    ``exact`` (also given as ``exact_match``) and ``f1`` are percentages over ``total`` questions,
    repeated with the prefixes ``HasAns_`` and ``NoAns_`` over the two kinds of question, where
    there are any.  The only right answer to an unanswerable question is one that normalises to
    the empty string.  A question whose ``null_odds`` exceed ``threshold`` counts as left
    unanswered; the default suits probabilities, so pass ``math.inf`` with score differences to
    keep the predictions as they are.  Of questions that share an id the last one counts.

    With ``null_odds`` come ``best_exact`` and ``best_f1`` (percent), the scores at the best
    thresholds ``best_exact_thresh`` and ``best_f1_thresh`` (0.0 if leaving all unanswered is
    best), and, if any question is answerable, the average precisions ``pr_exact_ap``,
    ``pr_f1_ap`` and ``pr_oracle_ap`` (percent).  These look at the predictions before the
    threshold.  A missing prediction is a ``KeyError``: the script cannot finish there either.

    Source: Rajpurkar, Jia & Liang 2018 (arXiv:1806.03822); evaluate-v2.0.py.

    >>> scores = squad_v2_scores({"q1": "Paris", "q2": "Rome"}, {"q1": ["Paris"], "q2": []},
    ...                          null_odds={"q1": 0.1, "q2": 0.9})
    >>> scores["f1"], scores["HasAns_f1"], scores["NoAns_f1"]
    (50.0, 100.0, 0.0)
    >>> scores["best_f1"], scores["best_f1_thresh"], scores["pr_f1_ap"]
    (100.0, 0.1, 100.0)
    """
    references = dict(_pairs(references))
    odds = dict.fromkeys(predictions, 0.0) if null_odds is None else null_odds
    if missing := [q for q in references if q not in predictions or q not in odds]:
        raise KeyError(f"{len(missing)} questions lack a prediction or odds, first {missing[0]!r}")
    rows = ((predictions[q], answers, odds[q]) for q, answers in references.items())
    if null_odds is None:
        return squad_v2_means(rows, None, threshold)
    number = {question: n for n, question in enumerate(references)}
    return squad_v2_means(rows, [number[q] for q in null_odds if q in number], threshold)


def squad_v2_means(
    rows: Iterable[tuple[str, Sequence[str], float]],
    ranked: Iterable[int] | None,
    threshold: float,
) -> dict[str, float]:
    """squad_v2_scores of answers that come one by one, each with its references and null odds.

    Of each question a few numbers are kept.

    Args:
        ranked: numbers of rows, for the best thresholds; of equal odds the first comes first. None
            where the odds are not the model's.
    """
    odds, values = array("d"), {"exact": array("d"), "f1": array("d")}
    has_answer, answered = bytearray(), bytearray()
    for prediction, answers, of in rows:
        gold = [answer for answer in answers if normalize_answer(answer)] or [""]
        values["exact"].append(_best(_same_answer, prediction, gold))
        values["f1"].append(_best(_token_f1_or_both_empty, prediction, gold))
        odds.append(of)
        has_answer.append(bool(answers))
        answered.append(bool(prediction))

    groups = {
        "": array("q", range(len(odds))),
        "HasAns_": array("q", (n for n, has in enumerate(has_answer) if has)),
        "NoAns_": array("q", (n for n, has in enumerate(has_answer) if not has)),
    }
    scores: dict[str, float] = {}
    for prefix, group in groups.items():
        if prefix and not group:
            continue
        for name, of_each in values.items():
            kept = (1.0 - has_answer[n] if odds[n] > threshold else of_each[n] for n in group)
            scores[prefix + name] = _percent(sum(kept), len(group))
        scores[prefix + "total"] = len(group)
    scores["exact_match"] = scores["exact"]
    if ranked is None:
        return scores

    ranking = sorted(ranked, key=odds.__getitem__)
    for name, of_each in values.items():
        best, best_threshold = _best_threshold(ranking, odds, answered, of_each, has_answer)
        scores |= {f"best_{name}": best, f"best_{name}_thresh": best_threshold}
    if groups["HasAns_"]:
        curves: dict[str, Sequence[float]] = {**values, "oracle": has_answer}
        for name, each in curves.items():
            scores[f"pr_{name}_ap"] = _average_precision(ranking, odds, each, has_answer)
    return scores


def cmrc2018_scores(
    predictions: Mapping[str, str],
    references: References,
    word_tokenize: Callable[[str], Iterable[str]] | None = None,
) -> dict[str, float]:
    """Score CMRC 2018 answers: exact match and F1 of the longest common run of segments.

    ``exact_match`` is the percentage of predictions equal to a reference after lower-casing and
    dropping punctuation; ``f1`` is the mean, in percent, of the F1 of the longest common
    *contiguous* run of segments (Chinese characters, and words of the text between them);
    ``average`` is the mean of the two; ``total`` counts the questions, each of those that
    share an id, and ``skip`` those without a prediction, which score 0.

    The script cuts the text between Chinese characters with ``nltk.word_tokenize``, whose English
    sentence model must be downloaded.  By default we use the same tokeniser and the same sentence
    splitter without that model but with a short list of abbreviations.  Exact match never depends
    on it.  F1 can differ only where such a stretch of text goes on after a period: if the word
    before it is one of the model's abbreviations that our list lacks ("calif. wine", "j.k.
    rowling": one token there, two here), or if a number or initial is followed by the word
    "administrators".  Those who have the model get the script's own digits by passing
    ``word_tokenize=nltk.word_tokenize``.

    Source: Cui et al. 2019 (arXiv:1810.07366); cmrc2018_evaluate.py, version v5.

    >>> scores = cmrc2018_scores({"q1": "在1889年。", "q2": "法国巴黎"},
    ...                          {"q1": ["在1889年"], "q2": ["巴黎"]})
    >>> scores["exact_match"], scores["f1"], scores["skip"]
    (50.0, 83.33333333333333, 0)
    """
    return cmrc2018_means(_answered(predictions, references), len(references), word_tokenize)


def cmrc2018_means(
    pairs: Iterable[tuple[str, Sequence[str]]],
    total: int,
    word_tokenize: Callable[[str], Iterable[str]] | None = None,
) -> dict[str, float]:
    """cmrc2018_scores of answers that come one by one, as squad_means."""
    word_tokenize = word_tokenize or _word_tokenize
    exact_match = f1 = 0.0
    skip = total
    for prediction, answers in pairs:
        skip -= 1
        predicted = _cmrc_segments(prediction, word_tokenize)
        golds = [_cmrc_segments(answer, word_tokenize) for answer in answers]
        f1 += max(_f1(_longest_common_run(gold, predicted), predicted, gold) for gold in golds)
        exact_match += _cmrc_clean(prediction) in map(_cmrc_clean, answers)
    exact_match, f1 = _percent(exact_match, total), _percent(f1, total)
    scores = {"exact_match": exact_match, "f1": f1, "average": (exact_match + f1) * 0.5}
    return {**scores, "total": total, "skip": skip}


def _pairs(references: References) -> Iterable[tuple[str, Sequence[str]]]:
    return references.items() if isinstance(references, Mapping) else references


def _answered(
    predictions: Mapping[str, str], references: References
) -> Iterable[tuple[str, Sequence[str]]]:
    """The prediction and the answers of each question that has a prediction."""
    return ((predictions[q], answers) for q, answers in _pairs(references) if q in predictions)


def _percent(score: float, count: int) -> float:
    if count == 0:
        raise ValueError("there are no questions to score")
    return 100.0 * score / count


def _best(score: Callable[[str, str], float], prediction: str, references: Sequence[str]) -> float:
    return max(score(prediction, reference) for reference in references)


def _f1(common: int, predicted: Sequence[str], gold: Sequence[str]) -> float:
    if common == 0:
        return 0
    precision = common / len(predicted)
    recall = common / len(gold)
    return (2 * precision * recall) / (precision + recall)


def _same_answer(prediction: str, reference: str) -> int:
    return int(normalize_answer(prediction) == normalize_answer(reference))


def _token_f1(prediction: str, reference: str) -> float:
    predicted, gold = normalize_answer(prediction).split(), normalize_answer(reference).split()
    return _f1((Counter(predicted) & Counter(gold)).total(), predicted, gold)


def _token_f1_or_both_empty(prediction: str, reference: str) -> float:
    """v2.0's token F1: v1.1's, but two empty answers agree (1) where v1.1 finds no token (0)."""
    if not normalize_answer(reference):
        return _same_answer(prediction, reference)
    return _token_f1(prediction, reference)


def _best_threshold(
    ranking: Sequence[int],
    odds: Sequence[float],
    answered: Sequence[int],
    scores: Sequence[float],
    has_answer: Sequence[int],
) -> tuple[float, float]:
    """The best score (percent) of answering the questions up to some null odds, and those odds."""
    score: float = len(scores) - sum(has_answer)
    best, threshold = score, 0.0
    for question in ranking:
        if has_answer[question]:
            score += scores[question]
        elif answered[question]:
            score -= 1
        if score > best:
            best, threshold = score, odds[question]
    return _percent(best, len(scores)), threshold


def _average_precision(
    ranking: Sequence[int],
    odds: Sequence[float],
    scores: Sequence[float],
    has_answer: Sequence[int],
) -> float:
    """The area (percent) under the precision-recall steps of answering by rising null odds."""
    answerable = sum(has_answer)
    found = area = reached = 0.0
    count = 0
    for _, tie in groupby(ranking, key=odds.__getitem__):  # a threshold cannot part equal odds
        for question in tie:
            count += 1
            if has_answer[question]:
                found += scores[question]
        recall = found / answerable
        area += found / count * (recall - reached)
        reached = recall
    return 100.0 * area


def _cmrc_clean(text: str) -> str:
    # Strip first: the script leaves spaces that dropped punctuation lays bare.
    return text.lower().strip().translate(_NO_CMRC_PUNCTUATION)


def _cmrc_segments(text: str, word_tokenize: Callable[[str], Iterable[str]]) -> list[str]:
    pieces = _CMRC_PIECES.findall(_cmrc_clean(text))
    return [
        segment
        for piece in pieces
        for segment in ([piece] if "\u4e00" <= piece[0] <= "\u9fa5" else word_tokenize(piece))
    ]


def _longest_common_run(left: Sequence[str], right: Sequence[str]) -> int:
    longest = 0
    previous = [0] * (len(right) + 1)
    for item in left:
        current = [0]
        for column, other in enumerate(right):
            current.append(previous[column] + 1 if item == other else 0)
        longest = max(longest, *current)
        previous = current
    return longest


@cache
def _tokenizers() -> tuple[Callable[[str], list[str]], Callable[[str], list[str]]]:
    # Imported here because nltk takes seconds to load and only CMRC needs it.
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    parameters = PunktParameters()
    parameters.abbrev_types = set(_ABBREVIATIONS.split())
    return PunktSentenceTokenizer(parameters).tokenize, NLTKWordTokenizer().tokenize


def _word_tokenize(text: str) -> list[str]:
    """``nltk.word_tokenize`` without its downloaded English model (see ``cmrc2018_scores``)."""
    split_sentences, split_words = _tokenizers()
    return [word for sentence in split_sentences(text) for word in split_words(sentence)]
