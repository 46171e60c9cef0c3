"""QuestionAnswerer: answers cut from the original text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.question_windows import encode_question_windows
from jaxbert.data.questions import QAExample
from jaxbert.data.rows import names_of, whole_text
from jaxbert.decoding.pipeline_answers import Answer, Window, pipeline_answers
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
from jaxbert.options.task_settings import QAOptions
from jaxbert.predictors.predictor import CallSettings, Predictor, listed, stream
from jaxbert.tasks.qa import QA

Answers = Answer | list[Answer]
Texts = str | Sequence[str]
Pair = Mapping[str, Texts]  # question and context
Inputs = Texts | Pair | Iterable[Pair] | None


@dataclasses.dataclass(frozen=True)
class _Logits:
    """Of each window the logits of starts and of ends, (B, 2, longest) float32."""

    longest: int

    def __call__(self, outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        both = jnp.stack([outputs["start_logits"], outputs["end_logits"]], 1).astype(jnp.float32)
        # Batches are of different lengths, and what is kept of them is of one.
        return {"logits": jnp.pad(both, ((0, 0), (0, 0), (0, self.longest - both.shape[2])))}


@dataclasses.dataclass(frozen=True)
class _Call:
    """What a call asks for; None is what the model was trained with, or the pipeline's default."""

    top_k: int
    max_answer_len: int | None
    handle_impossible_answer: bool
    align_to_words: bool
    max_seq_len: int | None
    doc_stride: int | None
    size: int


_PADDINGS = (None, True, False, "longest", "max_length", "do_not_pad")
_HOW = "give question= and context=, or a dict with both, or a list or a generator of such dicts"


class QuestionAnswerer(Predictor[QAOptions, CallSettings]):
    """Answers cut from the original text; called and answering as the question-answering pipeline
    of transformers v4, which v5.3 removed. docs/pipelines.md tells what is different on purpose.

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
        """Answer one question, or many.

        Args:
            inputs: a dict with question and context; several of them, or a list or a generator of
                them; or the two texts themselves.
            question, context: strings, or lists; a single string is paired with every element of
                the other list.
            data, X: the same as `inputs`, by the pipeline's older names.
            top_k, topk: up to so many answers for each question; 1 by default.
            max_answer_len: the most tokens of an answer, before it is widened to words; by default
                as the model was trained, and 15 if jaxbert has not trained it.
            handle_impossible_answer: whether "" may be the answer; by default as the model was
                trained (SQuAD v2.0).
            align_to_words: widen answers to whole words; True by default.
            max_seq_len: the most tokens of a window; by default as the model was trained, or 384.
            doc_stride: the tokens of the context that two windows share; by default 128, or as
                trained, and at most half a window.
            max_question_len, padding: checked, and without effect, as in the pipeline: a question
                is not cut, and padding changes no answer.
            batch_size: windows computed at once; it changes no answer.
            calibrated: answer as eval/qa.py does: a score is the probability among the n best spans
                of all windows, with the temperature and the threshold of calibration.json or of the
                training's options. By default only where there are such.

        Returns:
            For each question {score, start, end, answer}: a probability, character offsets in
            `context`, and context[start:end] itself; a list of them where top_k is larger and more
            than one is found. For a single question it is that alone, without a list around it;
            of a generator, a generator.

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
            _check_number(name, value, least=1)
        _check_number("doc_stride", doc_stride, least=0)
        if padding not in _PADDINGS:
            raise InputError(
                f"padding is {padding!r}; give True, False, longest, max_length or do_not_pad"
            )
        saved = self._options
        if calibrated is None:
            calibrated = saved.score_temperature != 1 or saved.null_score_diff_threshold != 0
        if calibrated and align_to_words:
            raise InputError(
                "calibrated answers are not widened to words; leave align_to_words out, or give "
                "calibrated=False"
            )
        impossible = handle_impossible_answer
        call = _Call(
            top_k=numbers["top_k"] or 1,
            max_answer_len=max_answer_len,
            handle_impossible_answer=(
                saved.version_2_with_negative if impossible is None else impossible
            ),
            align_to_words=align_to_words is not False,
            max_seq_len=max_seq_len,
            doc_stride=doc_stride,
            size=self._rows(batch_size),
        )
        answer = partial(self._calibrated if calibrated else self._as_pipeline, call)
        examples = _read(inputs, question, context, data, X)
        if not isinstance(examples, list):
            return stream(examples, call.size, lambda _, some: answer(some))
        results = answer(examples) if examples else []
        return results[0] if len(examples) == 1 else results

    def _as_pipeline(self, call: _Call, examples: Sequence[QAExample]) -> list[Answers]:
        saved, positions = self._options, self.model.cfg.max_position_embeddings
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
                f"a window has {longest} tokens and the model {positions} positions; give a "
                f"max_seq_len of at most {positions}"
            )

        keep = _Logits(positions)
        logits = self._compute(features, keep, longest=positions, size=call.size)["logits"]
        windows: list[list[Window]] = [[] for _ in examples]
        host = features.host
        for number, (first, last, row) in enumerate(
            zip(features.bounds[:-1], features.bounds[1:], logits, strict=True)
        ):
            inside = np.flatnonzero(host["context"][first:last])
            kept = row[:, np.concatenate([[0], inside])]
            place = first + inside
            windows[features.example[number]].append(
                Window(kept[0], kept[1], host["offsets"][place], host["words"][place])
            )
        return [
            _alone(
                pipeline_answers(
                    example.context,
                    found,
                    top_k=call.top_k,
                    max_answer_len=call.max_answer_len or saved.max_answer_length or 15,
                    handle_impossible_answer=call.handle_impossible_answer,
                    align_to_words=call.align_to_words,
                )
            )
            for example, found in zip(examples, windows, strict=True)
        ]

    def _calibrated(self, call: _Call, examples: Sequence[QAExample]) -> list[Answers]:
        saved, cfg = self._options, self.model.cfg
        options = dataclasses.replace(
            saved,
            max_seq_length=call.max_seq_len or saved.max_seq_length,
            doc_stride=saved.doc_stride if call.doc_stride is None else call.doc_stride,
            max_answer_length=call.max_answer_len or saved.max_answer_length,
            n_best_size=max(call.top_k, saved.n_best_size),
            version_2_with_negative=call.handle_impossible_answer,
        )
        results: dict[int, Answers] = {}
        # What is left open depends on the question's own text, never on the others.
        resolved = [QA(options).fit_to([example], None).settings for example in examples]
        for each in dict.fromkeys(resolved):
            numbers = [n for n, other in enumerate(resolved) if other == each]
            some = [examples[n] for n in numbers]
            task, longest = QA(each), each.max_seq_length
            features = task.encode(some, self.model.tokenizer, cfg)
            arrays = self._compute(features, task.reduce(), longest=longest, size=call.size)
            predictions = task.decode(some, features, arrays, cfg)
            for number, prediction in zip(numbers, predictions, strict=True):
                first = prediction.answer
                ranked = [first, *(c for c in prediction.nbest if c != first)][: call.top_k]
                results[number] = _alone(
                    [
                        Answer(score=c.probability, start=c.start, end=c.end, answer=c.text)
                        for c in ranked
                    ]
                )
        return [results[number] for number in range(len(examples))]


def _alone(answers: list[Answer]) -> Answers:
    """A single answer without a list around it, as in the pipeline."""
    return answers[0] if len(answers) == 1 else answers


def _check_number(name: str, value: int | None, *, least: int) -> None:
    if value is not None and (not isinstance(value, int | np.integer) or value < least):
        raise InputError(f"{name} is {value!r}: it must be a whole number of at least {least}")


def _read(
    inputs: tuple[Inputs, ...], question: Inputs, context: Inputs, data: Inputs, x: Inputs
) -> list[QAExample] | Iterator[QAExample]:
    """The questions of a call, in whichever form they are given; of an iterator an iterator."""
    if len(inputs) == 1 and question is None and context is not None:
        question, inputs = inputs[0], ()
    if len(inputs) == 2 and not any(isinstance(each, Mapping) for each in inputs):
        if question is not None or context is not None:
            raise InputError(f"question and context are given twice; {_HOW}")
        (question, context), inputs = inputs, ()
    named = question is not None or context is not None
    sources = [given for given in (data, x) if given is not None]
    if bool(inputs) + named + len(sources) != 1:
        raise InputError(_HOW)
    if named:
        return _paired(question, context)
    given = sources[0] if sources else inputs[0] if len(inputs) == 1 else list(inputs)
    if isinstance(given, Mapping):
        given = [given]
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InputError(f"the input is of the wrong type: {type(given).__name__}; {_HOW}")
    if isinstance(given, Iterator):
        return (
            _example(*_fields(row, number, more=True), number) for number, row in enumerate(given)
        )
    pairs = [_fields(row, number) for number, row in enumerate(given)]
    if len(pairs) == 1:  # its fields may be lists
        return _paired(*pairs[0])
    return [_example(*pair, number) for number, pair in enumerate(pairs)]


def _paired(question: Inputs, context: Inputs) -> list[QAExample]:
    """Questions with their contexts; a single text goes with each of the others."""
    questions, contexts = _texts("question", question), _texts("context", context)
    if isinstance(question, str):
        questions *= len(contexts)
    if isinstance(context, str):
        contexts *= len(questions)
    if len(questions) != len(contexts):
        raise InputError(f"{len(questions)} questions and {len(contexts)} contexts; give as many")
    pairs = zip(questions, contexts, strict=True)
    return [_example(*pair, number) for number, pair in enumerate(pairs)]


def _texts(name: str, given: Inputs) -> list[Inputs]:
    if isinstance(given, str):
        return [given]
    return listed(name, given)


def _fields(row: Inputs, number: int, *, more: bool = False) -> tuple[Inputs, Inputs]:
    """question and context of a dict, which may have `more` fields: rows of a data set do."""
    if not isinstance(row, Mapping):
        raise InputError(f"question {number} is a {type(row).__name__}; {_HOW}")
    for name in ("question", "context"):
        if name not in row:
            raise InputError(
                f'question {number}: no field "{name}"; it has {names_of(row) or "none"}'
            )
    others = [name for name in row if name not in ("question", "context")]
    if others and not more:
        raise InputError(
            f"question {number} has other fields than question and context: {names_of(others)}; "
            "leave them out, and give options by keyword"
        )
    return row["question"], row["context"]


def _example(question: Inputs, context: Inputs, number: int) -> QAExample:
    if not isinstance(question, str) or not question:
        raise InputError(f"question {number} is empty or not a string")
    if not isinstance(context, str) or not context:
        raise InputError(f"context {number} is empty or not a string")
    return QAExample(str(number), whole_text(question), whole_text(context))
