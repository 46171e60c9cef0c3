"""Questions with their answers in the paragraph, as a report shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxbert.data.questions import QAExample
from jaxbert.decoding.answers import Candidate, Prediction
from jaxbert.metrics.answer_scores import normalize_answer
from jaxbert.report.records import Choice, Findings, Mark, Passage, Shown
from jaxbert.tasks.shown_examples import MOST_CHOICES, judged_findings, length_range

NO_ANSWER = "(no answer)"
# The first of these that a question has; the longer ones before what they begin with.
_ENGLISH = (
    *("how many", "how much", "how", "what", "whose", "whom", "who", "which", "when", "where"),
    "why",
)
_CHINESE = (
    "为什么",
    "什么时候",
    "什么",
    "多少",
    "怎么",
    "如何",
    "哪",
    "谁",
    "何时",
    "何",
    "几",
    "吗",
)

# (answer, references) -> exact match and F1, fractions.
ScoreOne = Callable[[str, Sequence[str]], tuple[float, float]]


def question_word(question: str) -> str:
    """The word that a question asks with.

    >>> question_word("In what year did it end?"), question_word("谁是作者？")
    ('what', '谁')
    >>> question_word("How many whats are there?"), question_word("Name it.")
    ('how many', 'other')
    """
    words = f" {''.join(c if c.isalnum() else ' ' for c in question.lower())} "
    words = " ".join(words.split())
    places = {word: f" {words} ".find(f" {word} ") for word in _ENGLISH}
    found = [word for word in _ENGLISH if places[word] >= 0]
    if found:
        return min(found, key=lambda word: places[word])  # of equal places the first, the longer
    return next((word for word in _CHINESE if word in question), "other")


def answers_shown(
    examples: Sequence[QAExample], predictions: Sequence[Prediction], score_one: ScoreOne
) -> Findings:
    """Each question above its paragraph, in which its answers are marked."""
    pairs = zip(examples, predictions, strict=True)
    return judged_findings(_shown(e, p, score_one) for e, p in pairs)


def _shown(example: QAExample, prediction: Prediction, score_one: ScoreOne) -> Shown:
    answer = prediction.answer
    golds = list(dict.fromkeys(a.text for a in example.answers))
    exact, f1 = score_one(answer.text, golds) if example.labelled else (0.0, 0.0)
    right = exact == 1 if example.labelled else None
    facets = {"asks": question_word(example.question)}
    if prediction.null_odds is not None:
        facets["answer"] = _kind(bool(golds) if example.labelled else None, bool(answer.text))
    facets["characters"] = length_range(len(example.context))
    return Shown(
        name=example.id,
        passages=[
            Passage("", example.question),
            Passage("", example.context, _marks(example, answer)),
        ],
        choices=_choices(prediction, golds, labelled=example.labelled),
        gold=(" / ".join(golds) or NO_ANSWER) if example.labelled else None,
        predicted=answer.text or NO_ANSWER,
        right=right,
        badness=answer.probability if right is False else -answer.probability,
        confidence=answer.probability,
        length=len(example.context),
        facets={**facets, **_overlap(right, f1)},
    )


def _overlap(right: bool | None, f1: float) -> dict[str, str]:
    """How much of the answer is right."""
    if right is None:
        return {}
    return {"words": "exact" if right else "some right" if f1 > 0 else "none right"}


def _kind(has: bool | None, answers: bool) -> str:
    said = "answered" if answers else "left empty"
    if has is None:
        return said
    return f"has an answer, {said}" if has else f"has no answer, {said}"


def _marks(example: QAExample, answer: Candidate) -> list[Mark]:
    spans = dict.fromkeys(
        (a.start, a.end) for a in example.answers if a.start is not None and a.end is not None
    )
    marks = [Mark(start, end, "", "gold") for start, end in spans if start is not None and end]
    if answer.text:
        marks.append(Mark(answer.start, answer.end, "", "predicted"))
    return marks


def _choices(prediction: Prediction, golds: Sequence[str], *, labelled: bool) -> list[Choice]:
    """The best of the n-best list, and the answer where it is not among them."""
    known = {normalize_answer(text) for text in golds} or ({""} if labelled else set())
    best = list(prediction.nbest[:MOST_CHOICES])
    if prediction.answer not in best:
        best.append(prediction.answer)
    return [
        Choice(c.text, c.probability, normalize_answer(c.text) in known, c == prediction.answer)
        for c in best
    ]
