"""QuestionAnswerer: answers cut from the original text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxbert.data.questions import QAExample
from jaxbert.data.rows import whole_text
from jaxbert.errors import InputError
from jaxbert.option_values import check_ranges
from jaxbert.options import QAOptions
from jaxbert.predictors.predictor import Predictor, listed
from jaxbert.tasks.qa import QA, settle_qa

Answers = dict[str, Any] | list[dict[str, Any]]


class QuestionAnswerer(Predictor):
    """Answers cut from the original text; called and answering as the question-answering pipeline
    of transformers v4, which v5.3 removed.

    >>> qa = QuestionAnswerer.from_pretrained("runs/qa_demo")  # doctest: +SKIP
    >>> qa(question="Where is it stable?", context="It is stable at 25°C.")  # doctest: +SKIP
    {'score': 0.93, 'start': 16, 'end': 20, 'answer': '25°C'}
    """

    task = QA
    kind = QAOptions

    def __call__(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str],
        *,
        top_k: int = 1,
        max_answer_len: int | None = None,
        handle_impossible_answer: bool | None = None,
    ) -> Answers | list[Answers]:
        """Answer one question, or a list of them.

        Args:
            question, context: strings, or lists; a single string is paired with every element of
                the other list.
            top_k: with more than 1, a list of up to so many answers for each question.
            max_answer_len: the most tokens of an answer; by default as the model was trained.
            handle_impossible_answer: whether "" may be the answer; by default as the model was
                trained (SQuAD v2.0).

        Returns:
            For each question {score, start, end, answer}: the probability among the n best spans,
            character offsets in `context`, and context[start:end] itself. For a single question it
            is the dict alone, as the pipeline did.

        Raises:
            InputError: an empty question or context, lists of different lengths, or top_k < 1.
        """
        single, examples = _examples(question, context)
        for name, value in (("top_k", top_k), ("max_answer_len", max_answer_len)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}: it must be at least 1")
        options = settle_qa(self._options, examples)
        negative = options.version_2_with_negative
        options = dataclasses.replace(
            options,
            max_answer_length=max_answer_len or options.max_answer_length,
            n_best_size=max(top_k, options.n_best_size),
            version_2_with_negative=(
                negative if handle_impossible_answer is None else handle_impossible_answer
            ),
        )
        check_ranges(options)
        if not examples:
            return []
        results: list[Answers] = []
        for prediction in self._predict(examples, options):
            first = prediction.answer
            ranked = [first, *(c for c in prediction.nbest if c != first)][:top_k]
            answers = [
                {"score": c.probability, "start": c.start, "end": c.end, "answer": c.text}
                for c in ranked
            ]
            results.append(answers[0] if top_k == 1 else answers)
        return results[0] if single else results


def _examples(
    question: str | Sequence[str], context: str | Sequence[str]
) -> tuple[bool, list[QAExample]]:
    """Whether a single question on a single context was given, and all as examples."""
    one_question, questions = listed("question", question, str)
    one_context, contexts = listed("context", context, str)
    if one_question:
        questions *= len(contexts)
    if one_context:
        contexts *= len(questions)
    if len(questions) != len(contexts):
        raise InputError(f"{len(questions)} questions and {len(contexts)} contexts; give as many")
    for name, texts in (("question", questions), ("context", contexts)):
        for number, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"{name} {number} is empty or not a string")
    return one_question and one_context, [
        QAExample(str(number), whole_text(q), whole_text(c))
        for number, (q, c) in enumerate(zip(questions, contexts, strict=True))
    ]
