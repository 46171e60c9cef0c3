"""Take every call of a pipeline out of transformers' own tests, and write their arguments down.

python tests/predictors/pipeline_calls.py FOLDER VERSION

FOLDER has the three files of tests/pipelines/ in huggingface/transformers that are named below.
They are not run: their syntax trees are walked, and of each function the assignments and the
arguments of calls are evaluated, so that what is written to pipeline_calls.json are values. What is
a pipeline is what `pipeline(...)` or `...Pipeline(...)` makes, what is passed to a function as one,
or the argument handler, whose arguments are the pipeline's. The branches of an `if` are all taken,
and no call is left out. Models are not looked at: their tokenizer is that of a tiny model.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import transformers

CALLS = Path(__file__).with_suffix(".json")
# The file's middle name, which task its pipeline has, and which head.
TASKS = {
    "text_classification": ("text-classification", "classification"),
    "token_classification": ("token-classification", "tagging"),
    "fill_mask": ("fill-mask", "mlm"),
}
# Keywords that say which model is taken and where it is computed.
_MODEL = ("model", "tokenizer", "device", "dtype", "task", "framework", "torch_dtype")
_MODEL += ("feature_extractor", "image_processor", "processor")


@dataclasses.dataclass
class Opened:
    """A pipeline of the tests, with the keywords that it was made with."""

    keywords: dict[str, Any]
    settings: dict[str, Any]  # attributes of model and tokenizer that the test sets
    tokenizer: Any
    model: Any = dataclasses.field(default_factory=mock.MagicMock)


class Walk:
    """The calls of one file, in order."""

    def __init__(self, tokenizer: Any, answer: Callable[..., Any]) -> None:
        self.tokenizer, self.answer = tokenizer, answer
        self.calls: list[dict[str, Any]] = []
        self.passed: dict[tuple[str, int], Opened] = {}  # arguments of the test's own functions

    def file(self, source: str) -> list[dict[str, Any]]:
        tree = ast.parse(source)
        strategies = ("NONE", "SIMPLE", "FIRST", "MAX", "AVERAGE")
        strategy = mock.MagicMock(**{name: name.lower() for name in strategies})
        names: dict[str, Any] = {"np": np, "AggregationStrategy": strategy}
        for name in ("AutoTokenizer", "AutoModelForTokenClassification"):
            names[name] = mock.MagicMock()
        names["AutoTokenizer"].from_pretrained.return_value = self.tokenizer
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for _ in range(2):  # the first time to see what is passed to which function
            self.calls.clear()
            for function in functions:
                self.settings: dict[str, Any] = {}
                local = dict(names)
                for place, argument in enumerate(function.args.args):
                    local[argument.arg] = self.passed.get((function.name, place))
                local["tokenizer"], local["model"] = self.tokenizer, mock.MagicMock()
                if function.name == "run_pipeline_test" and not local[function.args.args[1].arg]:
                    local[function.args.args[1].arg] = Opened({}, self.settings, self.tokenizer)
                self.test = function.name
                self.statements(function.body, local)
        return self.calls

    def statements(self, body: list[ast.stmt], names: dict[str, Any]) -> None:
        for statement in body:
            if isinstance(statement, ast.With | ast.If):
                self.statements(statement.body, names)
                self.statements(getattr(statement, "orelse", []), names)
                continue
            found = [self.call(node, names) for node in ast.walk(statement)]
            if isinstance(statement, ast.Assign):
                outcomes = [outcome for outcome in found if outcome is not None]
                self.assign(statement, names, outcomes)

    def assign(self, statement: ast.Assign, names: dict[str, Any], outcomes: list[Any]) -> None:
        (target,) = statement.targets
        if isinstance(target, ast.Attribute):
            if target.attr in ("model_max_length", "problem_type", "id2label"):
                self.settings[target.attr] = self.value(statement.value, names)
        elif isinstance(target, ast.Name):
            if outcomes:
                names[target.id] = outcomes[0]
                return
            with contextlib.suppress(Exception):  # what only the expected results need
                names[target.id] = self.value(statement.value, names)

    def call(self, node: ast.AST, names: dict[str, Any]) -> Any:
        """What a call of a pipeline gives, or the pipeline that is made; None for other nodes."""
        if not isinstance(node, ast.Call):
            return None
        method, function = None, node.func
        if isinstance(function, ast.Name):
            if function.id == "pipeline" or function.id.endswith("Pipeline"):
                given = {k.arg: k.value for k in node.keywords if k.arg not in _MODEL}
                keywords = {str(k): self.value(v, names) for k, v in given.items()}
                return Opened(keywords, self.settings, self.tokenizer)
            opened = names.get(function.id)
        elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            method, opened = function.attr, names.get(function.value.id)
            if function.value.id == "self" and method == "args_parser":
                method, opened = None, Opened({}, {}, self.tokenizer)
            elif function.value.id == "self":
                for place, argument in enumerate(node.args, 1):
                    passed = names.get(argument.id) if isinstance(argument, ast.Name) else None
                    if isinstance(passed, Opened):
                        self.passed[method, place] = passed
        else:
            return None
        if not isinstance(opened, Opened):
            return None
        arguments = [self.value(argument, names) for argument in node.args]
        keywords = {str(k.arg): self.value(k.value, names) for k in node.keywords}
        entry = {
            "test": self.test,
            "opened": opened.keywords,
            "settings": dict(opened.settings),
            "method": method,
            "args": arguments,
            "kwargs": keywords,
        }
        self.calls.append({name: value for name, value in entry.items() if value or name == "args"})
        return self.answer(opened.keywords, *arguments, **keywords) if method is None else None

    def value(self, node: ast.expr, names: dict[str, Any]) -> Any:
        return eval(compile(ast.Expression(node), "<test>", "eval"), {**names})


def as_json(value: Any) -> Any:
    """Arrays and tuples as objects with one key, which from_json knows."""
    if isinstance(value, np.ndarray):
        return {"array": value.tolist()}
    if isinstance(value, tuple):
        return {"tuple": [as_json(each) for each in value]}
    if isinstance(value, list):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {str(name): as_json(each) for name, each in value.items()}
    return value


def from_json(value: Any) -> Any:
    """The inverse of as_json."""
    if isinstance(value, list):
        return [from_json(each) for each in value]
    if isinstance(value, dict):
        if value.keys() == {"array"}:
            return np.array(value["array"])
        if value.keys() == {"tuple"}:
            return tuple(from_json(each) for each in value["tuple"])
        return {name: from_json(each) for name, each in value.items()}
    return value


def calls_of(folder: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    from tiny_models import tiny_model

    for name, (task, head) in TASKS.items():
        with tempfile.TemporaryDirectory() as model:
            tiny_model(Path(model), head, ("O", "I-PER"), positions=512)
            pipe = transformers.pipeline(task, model=model)

            def answer(opened: dict[str, Any], *args: Any, pipe: Any = pipe, **kw: Any) -> Any:
                if pipe.task != "fill-mask":
                    return "an answer"
                with contextlib.suppress(Exception):
                    return pipe(*args, **opened, **kw)

            source = (folder / f"test_pipelines_{name}.py").read_text(encoding="utf-8")
            yield name, Walk(pipe.tokenizer, answer).file(source)


def main() -> None:
    folder, version = Path(sys.argv[1]), sys.argv[2]
    calls = {name: as_json(found) for name, found in calls_of(folder)}
    content = {
        "repository": "huggingface/transformers",
        "version": version,
        "files": [f"tests/pipelines/test_pipelines_{name}.py" for name in calls],
        "number": {name: len(found) for name, found in calls.items()},
        "calls": calls,
    }
    CALLS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(content["number"])


if __name__ == "__main__":
    main()
