"""QuestionAnswerer: answers cut from the original text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.features import Features
from jaxbert.data.question_windows import encode_question_windows
from jaxbert.data.questions import QAExample
from jaxbert.data.rows import names_of, replace_surrogates
from jaxbert.decoding.answers import Prediction
from jaxbert.decoding.pipeline_answers import Answer, Window, pipeline_answers
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
from jaxbert.options.task_settings import QAOptions
from jaxbert.predictors.predictor import CallSettings, Predictor, answer_in_chunks, as_list, is_list
from jaxbert.tasks.qa import QA

Answers = Answer | list[Answer]
Texts = str | Sequence[str]
Pair = Mapping[str, Texts]  # question and context
Inputs = Texts | Pair | Iterable[Pair] | None


@dataclasses.dataclass(frozen=True)
class _Logits:
    """The start and end logits of each window, (B, 2, longest) float32."""

    longest: int

    def __call__(self, outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        logits = jnp.stack([outputs["start_logits"], outputs["end_logits"]], 1).astype(jnp.float32)
        # Batches differ in length, but the results of all have one length.
        return {"logits": jnp.pad(logits, ((0, 0), (0, 0), (0, self.longest - logits.shape[2])))}


@dataclasses.dataclass(frozen=True)
class _Call:
    """The settings of a call; None means as trained, or the pipeline's default."""

    top_k: int
    max_answer_len: int | None
    handle_impossible_answer: bool
    align_to_words: bool
    max_seq_len: int | None
    doc_stride: int | None
    size: int


class ReadWindow(NamedTuple):
    """A part of a paragraph that the model read at once, and its best span there.

    Attributes:
        start, end: its characters in the paragraph.
        best_start, best_end: those of the span; both 0 where there is none.
        score: start logit + end logit of the span.
    """

    start: int
    end: int
    best_start: int
    best_end: int
    score: float


class Reading(NamedTuple):
    """How a question was answered.

    Attributes:
        prediction: the answer and the others, with their probabilities.
        threshold: of prediction.null_odds, above which there is no answer.
        windows: in the order of the paragraph.
    """

    prediction: Prediction
    threshold: float
    windows: tuple[ReadWindow, ...]


_PADDINGS = (None, True, False, "longest", "max_length", "do_not_pad")
_USAGE = "give question= and context=, or a dict with both, or a list or a generator of such dicts"


class QuestionAnswerer(Predictor[QAOptions, CallSettings]):
    """Answers cut from the original text, with the interface of the question-answering pipeline of
    transformers v4, which v5.3 removed. docs/pipelines.md lists the intended differences.

    >>> qa = QuestionAnswerer.from_pretrained("runs/qa_demo")  # doctest: +SKIP
    >>> qa(question="Where is it stable?", context="It is stable at 25°C.")  # doctest: +SKIP
    {'score': 0.95, 'start': 16, 'end': 20, 'answer': '25°C'}
    """

    task = QA
    options_cls = QAOptions
    settings_cls = CallSettings
    untrained_length = None

    def __call__(
        self,
        *inputs: Inputs,
        question: Inputs = None,
        context: Inputs = None,
        data: Inputs = None,
        X: Inputs = None,  # noqa: N803 - the pipeline's name
        top_k: int | None = None,
        topk: int | None = None,
        max_answer_len: int | None = None,
        handle_impossible_answer: bool | None = None,
        align_to_words: bool | None = None,
        max_seq_len: int | None = None,
        doc_stride: int | None = None,
        max_question_len: int | None = None,
        padding: bool | str | None = None,
        batch_size: int | None = None,
        calibrated: bool | None = None,
    ) -> Answers | list[Answers] | Iterator[Answers]:
        """Answer one question or several.

        Args:
            inputs: a dict with question and context; several of them, or a list or a generator of
                them; or the two texts themselves.
            question, context: strings, or lists; a single string is paired with every element of
                the other list.
            data, X: the pipeline's older names of `inputs`.
            top_k, topk: maximum answers for each question; 1 by default.
            max_answer_len: maximum tokens of an answer, before it is widened to words; by default
                as the model was trained, or 15 if jaxbert has not trained it.
            handle_impossible_answer: whether "" may be the answer; by default as the model was
                trained (SQuAD v2.0).
            align_to_words: widen answers to complete words; True by default.
            max_seq_len: maximum tokens of a window; by default as the model was trained, or 384.
            doc_stride: tokens of the context that two windows share; by default as trained, or 128,
                and at most half a window.
            max_question_len, padding: checked but without effect, as in the pipeline: a question is
                not cut, and padding changes no answer.
            batch_size: windows computed at once; it changes no answer.
            calibrated: answer like eval/qa.py: a score is the probability among the n best spans of
                all windows, with the temperature and threshold of calibration.json or of the
                training's options. By default only if these differ from 1 and 0.

        Returns:
            For each question {score, start, end, answer}: a probability, character offsets in
            `context`, and context[start:end]; or a list of them, if top_k is more than 1 and there
            is more than one answer. The result of a single question is not in a list. For a
            generator the result is a generator.

        Raises:
            InputError: an empty question or context, lists of different lengths, an option out of
                range, or a question that leaves no room in the window.
        """
        numbers = {
            "top_k": topk if top_k is None else top_k,
            "max_answer_len": max_answer_len,
            "max_seq_len": max_seq_len,
            "max_question_len": max_question_len,
            "batch_size": batch_size,
        }
        for name, value in numbers.items():
            _check_number(name, value, minimum=1)
        _check_number("doc_stride", doc_stride, minimum=0)
        if padding not in _PADDINGS:
            raise InputError(
                f"padding is {padding!r}; give True, False, longest, max_length or do_not_pad"
            )
        saved = self._options
        if calibrated is None:
            calibrated = saved.score_temperature != 1 or saved.null_score_diff_threshold != 0
        if calibrated and align_to_words:
            raise InputError(
                "calibrated answers are not widened to words; omit align_to_words, or give "
                "calibrated=False"
            )
        allow_empty = handle_impossible_answer
        call = _Call(
            top_k=numbers["top_k"] or 1,
            max_answer_len=max_answer_len,
            handle_impossible_answer=(
                saved.version_2_with_negative if allow_empty is None else allow_empty
            ),
            align_to_words=align_to_words is not False,
            max_seq_len=max_seq_len,
            doc_stride=doc_stride,
            size=self._rows(batch_size),
        )
        answer = partial(self._calibrated if calibrated else self._as_pipeline, call)
        examples = _read(inputs, question, context, data, X)
        if not isinstance(examples, list):
            return answer_in_chunks(examples, call.size, lambda _, chunk: answer(chunk))
        results = answer(examples) if examples else []
        return results[0] if len(examples) == 1 else results

    def _as_pipeline(self, call: _Call, examples: Sequence[QAExample]) -> list[Answers]:
        saved, positions = self._options, self.model.cfg.positions
        length = call.max_seq_len
        if length is None:
            length = min(saved.max_seq_length, self.model.tokenizer.model_max_length)
        overlap = call.doc_stride
        if overlap is None:  # 128 in a folder that jaxbert has not trained, as in the pipeline
            trained = saved.doc_stride if saved.stride_mode == "overlap" else 128
            overlap = min(length // 2, trained)
        features = encode_question_windows(
            examples, self.model.tokenizer, max_length=length, overlap=overlap
        )
        longest = int(features.lengths.max())
        if longest > positions:
            raise InputError(
                f"a window has {longest} tokens, but the model has {positions} positions; give a "
                f"max_seq_len of at most {positions}"
            )

        keep = _Logits(positions)
        logits = self._compute(features, keep, longest=positions, size=call.size)["logits"]
        windows: list[list[Window]] = [[] for _ in examples]
        host = features.host
        for index, (first, last, row) in enumerate(
            zip(features.bounds[:-1], features.bounds[1:], logits, strict=True)
        ):
            context_tokens = np.flatnonzero(host["context"][first:last])
            kept = row[:, np.concatenate([[0], context_tokens])]
            tokens = first + context_tokens
            windows[features.example[index]].append(
                Window(kept[0], kept[1], host["offsets"][tokens], host["words"][tokens])
            )
        return [
            _unwrap(
                pipeline_answers(
                    example.context,
                    example_windows,
                    top_k=call.top_k,
                    max_answer_len=call.max_answer_len or saved.max_answer_length or 15,
                    handle_impossible_answer=call.handle_impossible_answer,
                    align_to_words=call.align_to_words,
                )
            )
            for example, example_windows in zip(examples, windows, strict=True)
        ]

    def read(self, *, questions: Sequence[str], contexts: Sequence[str]) -> list[Reading]:
        """What calibrated=True answers from: all answers with their probabilities, the odds of no
        answer and its threshold, and the windows of each question.

        Args:
            questions, contexts: of equal number; the first question is about the first context.

        Raises:
            InputError: a text is empty, or their numbers differ.
        """
        examples = _paired([*questions], [*contexts])
        saved = self._options
        call = _Call(
            top_k=1,
            max_answer_len=None,
            handle_impossible_answer=saved.version_2_with_negative,
            align_to_words=False,
            max_seq_len=None,
            doc_stride=None,
            size=self._rows(None),
        )
        return self._readings(call, examples) if examples else []

    def _calibrated(self, call: _Call, examples: Sequence[QAExample]) -> list[Answers]:
        results: list[Answers] = []
        for prediction, _, _ in self._readings(call, examples):
            first = prediction.answer
            ranked = [first, *(c for c in prediction.nbest if c != first)][: call.top_k]
            results.append(
                _unwrap(
                    [
                        Answer(score=c.probability, start=c.start, end=c.end, answer=c.text)
                        for c in ranked
                    ]
                )
            )
        return results

    def _readings(self, call: _Call, examples: Sequence[QAExample]) -> list[Reading]:
        saved, cfg = self._options, self.model.cfg
        options = dataclasses.replace(
            saved,
            max_seq_length=call.max_seq_len or saved.max_seq_length,
            doc_stride=saved.doc_stride if call.doc_stride is None else call.doc_stride,
            max_answer_length=call.max_answer_len or saved.max_answer_length,
            n_best_size=max(call.top_k, saved.n_best_size),
            version_2_with_negative=call.handle_impossible_answer,
        )
        results: dict[int, Reading] = {}
        # Options that are not fixed depend only on the question's own text, never on the others.
        resolved = [QA(options).fit_to([example], None).settings for example in examples]
        for settings in dict.fromkeys(resolved):
            indices = [index for index, candidate in enumerate(resolved) if candidate == settings]
            group = [examples[index] for index in indices]
            task, longest = QA(settings), settings.max_seq_length
            features = task.encode(group, self.model.tokenizer, cfg)
            arrays = self._compute(features, task.reduce(), longest=longest, size=call.size)
            predictions = task.decode(group, features, arrays, cfg)
            windows = _windows(features, arrays)
            for number, (index, prediction) in enumerate(zip(indices, predictions, strict=True)):
                of_question = tuple(
                    windows[row] for row in np.flatnonzero(features.example == number)
                )
                results[index] = Reading(
                    prediction, settings.null_score_diff_threshold, of_question
                )
        return [results[index] for index in range(len(examples))]


def _windows(features: Features, arrays: Mapping[str, np.ndarray]) -> list[ReadWindow]:
    """Each window, with the first of its best spans."""
    offsets, is_context = features.host["offsets"], features.tokens["context_mask"]
    windows = []
    for row, (first, last) in enumerate(
        zip(features.bounds[:-1], features.bounds[1:], strict=True)
    ):
        characters = offsets[first:last][is_context[first:last]]
        start, end = (characters[0, 0], characters[-1, 1]) if len(characters) else (0, 0)
        best_start = best_end = 0
        if (token := arrays["start"][row, 0]) >= 0:
            best_start = offsets[first + token, 0]
            best_end = offsets[first + arrays["end"][row, 0], 1]
        score = float(arrays["score"][row, 0])
        windows.append(ReadWindow(int(start), int(end), int(best_start), int(best_end), score))
    return windows


def _unwrap(answers: list[Answer]) -> Answers:
    """A single answer without its list, as in the pipeline."""
    return answers[0] if len(answers) == 1 else answers


def _check_number(name: str, value: int | None, *, minimum: int) -> None:
    if value is not None and (not isinstance(value, int | np.integer) or value < minimum):
        raise InputError(f"{name} is {value!r}: it must be an integer of at least {minimum}")


def _read(
    inputs: tuple[Inputs, ...], question: Inputs, context: Inputs, data: Inputs, x: Inputs
) -> list[QAExample] | Iterator[QAExample]:
    """The questions of a call, in any supported form; an iterator for an iterator."""
    if len(inputs) == 1 and question is None and context is not None:
        question, inputs = inputs[0], ()
    if len(inputs) == 2 and not any(isinstance(item, Mapping) for item in inputs):
        if question is not None or context is not None:
            raise InputError(f"question and context are given twice; {_USAGE}")
        (question, context), inputs = inputs, ()
    by_keyword = question is not None or context is not None
    sources = [source for source in (data, x) if source is not None]
    if bool(inputs) + by_keyword + len(sources) != 1:
        raise InputError(_USAGE)
    if by_keyword:
        return _paired(question, context)
    source = sources[0] if sources else inputs[0] if len(inputs) == 1 else list(inputs)
    if isinstance(source, Mapping):
        source = [source]
    if isinstance(source, str) or not is_list(source):
        raise InputError(f"the input has the wrong type: {type(source).__name__}; {_USAGE}")
    if isinstance(source, Iterator):
        return (
            _example(*_fields(row, index, allow_others=True), index)
            for index, row in enumerate(source)
        )
    pairs = [_fields(row, index) for index, row in enumerate(source)]
    if len(pairs) == 1:  # its fields may be lists
        return _paired(*pairs[0])
    return [_example(*pair, index) for index, pair in enumerate(pairs)]


def _paired(question: Inputs, context: Inputs) -> list[QAExample]:
    """Pair questions with contexts; a single text is paired with each of the others."""
    questions, contexts = _texts("question", question), _texts("context", context)
    if isinstance(question, str):
        questions *= len(contexts)
    if isinstance(context, str):
        contexts *= len(questions)
    if len(questions) != len(contexts):
        raise InputError(
            f"{len(questions)} questions and {len(contexts)} contexts; give equal numbers"
        )
    pairs = zip(questions, contexts, strict=True)
    return [_example(*pair, index) for index, pair in enumerate(pairs)]


def _texts(name: str, texts: Inputs) -> list[Inputs]:
    if isinstance(texts, str):
        return [texts]
    return as_list(name, texts)


def _fields(row: Inputs, index: int, *, allow_others: bool = False) -> tuple[Inputs, Inputs]:
    """question and context of a dict, which may have other fields, as rows of a data set have."""
    if not isinstance(row, Mapping):
        raise InputError(f"question {index} has the wrong type: {type(row).__name__}; {_USAGE}")
    for name in ("question", "context"):
        if name not in row:
            raise InputError(
                f'question {index}: no field "{name}"; it has {names_of(row) or "none"}'
            )
    others = [name for name in row if name not in ("question", "context")]
    if others and not allow_others:
        raise InputError(
            f"question {index} has other fields than question and context: {names_of(others)}; "
            "remove them, and give options by keyword"
        )
    return row["question"], row["context"]


def _example(question: Inputs, context: Inputs, index: int) -> QAExample:
    if not isinstance(question, str) or not question:
        raise InputError(f"question {index} is empty or not a string")
    if not isinstance(context, str) or not context:
        raise InputError(f"context {index} is empty or not a string")
    return QAExample(str(index), replace_surrogates(question), replace_surrogates(context))
