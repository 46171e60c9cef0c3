"""What a Python user calls: a fine-tuned folder as a function of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxbert.data.batches import bucket_lengths
from jaxbert.data.features import check_ids
from jaxbert.data.questions import QAExample
from jaxbert.data.sources import whole_text
from jaxbert.data.tokenizer import load_tokenizer
from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Params, make_apply
from jaxbert.model.pretrained import load_pretrained
from jaxbert.options import QAOptions, check_ranges
from jaxbert.output import saved_options
from jaxbert.tasks import QA, settle_qa
from jaxbert.training.parallel import make_parallel
from jaxbert.training.predict import predict
from jaxbert.training.step import make_predict_step

Answers = dict[str, Any] | list[dict[str, Any]]


class QuestionAnswerer:
    """Answers cut from the original text; called and answering as the question-answering pipeline
    of transformers v4, which v5.3 removed.

    >>> qa = QuestionAnswerer.from_pretrained("runs/qa_demo")  # doctest: +SKIP
    >>> qa(question="Where is it stable?", context="It is stable at 25°C.")  # doctest: +SKIP
    {'score': 0.93, 'start': 16, 'end': 20, 'answer': '25°C'}
    """

    def __init__(
        self,
        cfg: BertConfig,
        params: Params,
        tokenizer: Any,
        options: QAOptions,
        *,
        dtype: str = "float32",
        batch_size: int = 32,
    ) -> None:
        self._cfg, self._tokenizer, self._options = cfg, tokenizer, options
        self._batch_size = batch_size
        self._parallel = make_parallel("jit", jax.local_devices()[:1])
        self._params = self._parallel.replicate(params)
        self._apply = make_apply(cfg, "qa", dtype=jnp.dtype(dtype))
        self._compiled: dict[tuple[int, int], Any] = {}

    @classmethod
    def from_pretrained(
        cls, path_or_name: str | Path, *, dtype: str = "float32", batch_size: int = 32
    ) -> QuestionAnswerer:
        """Open the folder of a run, or any BertForQuestionAnswering folder or Hub name.

        Windows and answer lengths are those that the folder's options.json says, or the defaults.

        Args:
            dtype: of the activations, "float32" or "bfloat16".
            batch_size: windows computed at once.

        Raises:
            InputError: no such model, or it has no question-answering head.
        """
        folder = find_model_folder(path_or_name)
        cfg, params = load_pretrained(folder, "qa", draw_head=False)
        saved = saved_options(folder)
        names = [field.name for field in dataclasses.fields(QAOptions)]
        options = QAOptions(**{name: saved[name] for name in names if name in saved})
        limit = min(options.max_seq_length, cfg.max_position_embeddings)
        if limit < options.max_seq_length:
            stride = min(options.doc_stride, limit // 3)
            options = dataclasses.replace(options, max_seq_length=limit, doc_stride=stride)
        tokenizer = load_tokenizer(folder, vocab_size=cfg.vocab_size)
        return cls(cfg, params, tokenizer, options, dtype=dtype, batch_size=batch_size)

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
        single = isinstance(question, str) and isinstance(context, str)
        examples = _examples(question, context)
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
        features = QA.encode(examples, self._tokenizer, options)
        check_ids(
            features,
            vocab_size=self._cfg.vocab_size,
            positions=self._cfg.max_position_embeddings,
            types=self._cfg.type_vocab_size,
        )
        arrays = predict(
            self._predict_step(options),
            self._params,
            features,
            self._parallel,
            size=self._batch_size,
            buckets=bucket_lengths(64, options.max_seq_length),
        )
        assert arrays is not None  # nothing stops it
        results: list[Answers] = []
        for prediction in QA.decode(examples, features, arrays, options):
            first = prediction.answer
            ranked = [first, *(c for c in prediction.nbest if c != first)][:top_k]
            answers = [
                {"score": c.probability, "start": c.start, "end": c.end, "answer": c.text}
                for c in ranked
            ]
            results.append(answers[0] if top_k == 1 else answers)
        return results[0] if single else results

    def _predict_step(self, options: QAOptions) -> Any:
        assert options.max_answer_length is not None
        shape = (options.max_answer_length, options.n_best_size)
        if shape not in self._compiled:
            step = make_predict_step(self._apply, QA.reduce(options))
            self._compiled[shape] = self._parallel.compile_predict(step)
        return self._compiled[shape]


def _examples(question: str | Sequence[str], context: str | Sequence[str]) -> list[QAExample]:
    questions = [question] if isinstance(question, str) else list(question)
    contexts = [context] if isinstance(context, str) else list(context)
    if isinstance(question, str):
        questions *= len(contexts)
    if isinstance(context, str):
        contexts *= len(questions)
    if len(questions) != len(contexts):
        raise InputError(f"{len(questions)} questions and {len(contexts)} contexts; give as many")
    for name, texts in (("question", questions), ("context", contexts)):
        for number, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"{name} {number} is empty or not a string")
    return [
        QAExample(str(number), whole_text(q), whole_text(c))
        for number, (q, c) in enumerate(zip(questions, contexts, strict=True))
    ]
