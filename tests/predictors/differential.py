"""A call of a predictor beside the same call of transformers' pipeline, on the same tiny model."""

from __future__ import annotations

import contextlib
import dataclasses
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_models import assert_near, tiny_model

from jaxbert import FillMask, InputError, Tagger, TextClassifier
from jaxbert.predictors.predictor import Predictor

# Of the models that transformers' tests of tagging name.
CONLL = ("O", "B-MISC", "I-MISC", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
POSITIONS = 256
_KINDS: dict[str, type[Predictor]] = {
    "classification": TextClassifier,
    "tagging": Tagger,
    "mlm": FillMask,
}
_PIPELINES = {
    "classification": "text-classification",
    "tagging": "token-classification",
    "mlm": "fill-mask",
}


@dataclasses.dataclass
class Both:
    """A predictor and the pipeline of one folder, opened again with keywords where a call asks."""

    folder: Path
    head: str

    def __post_init__(self) -> None:
        self.ours: Any = _KINDS[self.head].from_pretrained(self.folder, batch_size=4)
        self.theirs: Any = transformers.pipeline(_PIPELINES[self.head], model=str(self.folder))

    def open_ours(self, keywords: dict[str, Any]) -> Any:
        if not keywords:
            return self.ours
        opened: Any = _KINDS[self.head].from_pretrained(self.folder, **keywords)
        # What is computed does not depend on the keywords; so nothing is compiled again.
        opened.model = self.ours.model
        return opened

    def open_theirs(self, keywords: dict[str, Any]) -> Any:
        if not keywords:
            return self.theirs
        return transformers.pipeline(
            _PIPELINES[self.head],
            model=self.theirs.model,
            tokenizer=self.theirs.tokenizer,
            **keywords,
        )

    @contextlib.contextmanager
    def max_length(self, length: int | None) -> Iterator[None]:
        """The tokenizers' model_max_length set for a while."""
        tokenizers = (self.ours.model.tokenizer, self.theirs.tokenizer)
        for tokenizer in tokenizers:
            tokenizer.model_max_length = length or POSITIONS
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # of tiny models, more only wait for each other
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            for tokenizer in tokenizers:
                tokenizer.model_max_length = POSITIONS

    def compare(
        self,
        make_arguments: Callable[[], tuple[list[Any], dict[str, Any]]],
        opened: dict[str, Any] | None = None,
        length: int | None = None,
    ) -> str:
        """What became of a call: see outcome. Arguments are made twice: generators are used up."""
        args, kwargs = make_arguments()
        with self.max_length(length):
            ours = attempt(lambda: self.open_ours(opened or {})(*args, **kwargs))
            args, kwargs = make_arguments()
            theirs = attempt(lambda: self.open_theirs(opened or {})(*args, **kwargs))
        return outcome(ours, theirs)


def both(
    root: Path,
    head: str,
    labels: tuple[str, ...] = (),
    *,
    cased: bool = False,
    problem_type: str | None = None,
) -> Both:
    """A tiny model of that kind, opened both ways."""
    name = "-".join([head, str(len(labels)), str(cased), str(problem_type)])
    folder = root / name
    if not folder.is_dir():
        folder.mkdir()
        tiny_model(
            folder, head, labels, positions=POSITIONS, cased=cased, problem_type=problem_type
        )
    return Both(folder, head)


def attempt(call: Callable[[], Any]) -> Any:
    """What a call answers, an iterator as the list of what it gives; or the exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the pipelines' own
            found = call()
            return found if isinstance(found, list | dict) else [*found]
    except Exception as error:
        return error


def outcome(ours: Any, theirs: Any) -> str:
    """equal; both raise; and where they differ: answers differ, ours raises, theirs raises."""
    if isinstance(ours, Exception):
        # A wrong call is told, whatever it is: no other exception comes out of a predictor.
        assert isinstance(ours, InputError | TypeError), repr(ours)
        return "both raise" if isinstance(theirs, Exception) else f"ours raises: {ours}"
    if isinstance(theirs, Exception):
        return f"theirs raises: {theirs!r}"
    try:
        assert_near(ours, theirs)
    except AssertionError as error:
        return f"answers differ: {error}"
    return "equal"


def with_mask(value: Any) -> Any:
    """RoBERTa's mask token, of the models that are replaced, as BERT's."""
    match value:
        case str():
            return value.replace("<mask>", "[MASK]")
        case list():
            return [with_mask(each) for each in value]
        case dict():
            return {name: with_mask(each) for name, each in value.items()}
    return value


def generator(items: list[Any]) -> types.GeneratorType:
    return (item for item in items)
