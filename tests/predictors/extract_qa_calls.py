"""Take every call of the question-answering pipeline out of transformers' own test file.

python tests/predictors/extract_qa_calls.py test_pipelines_question_answering.py COMMIT

The file is tests/pipelines/test_pipelines_question_answering.py of huggingface/transformers. Calls
are found in its syntax tree, whatever becomes of their results: those that must raise too, those of
models that are gigabytes large, and those of the argument handler, which the pipeline itself calls
first. Only the arguments are kept, in qa_pipeline_calls.json.
"""

from __future__ import annotations

import ast
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CALLS = Path(__file__).with_name("qa_pipeline_calls.json")
_CALLED = ("question_answerer", "qa_pipeline", "pipe", "qa")
_MAKERS = ("pipeline", "QuestionAnsweringPipeline")


def calls_of(source: str) -> Iterator[dict[str, Any]]:
    """The calls in the order of the file: test, args, kwargs and init, as JSON.

    init: the keywords with which the pipeline itself was made, but for the model.
    """
    for klass in (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)):
        for test in (node for node in klass.body if isinstance(node, ast.FunctionDef)):
            yield from _calls_of_test(test)


def _calls_of_test(test: ast.FunctionDef) -> Iterator[dict[str, Any]]:
    names: dict[str, Any] = {}
    init: dict[str, Any] = {}
    inside = [node for node in test.body if isinstance(node, ast.FunctionDef)]
    hidden = {id(child) for function in inside for child in ast.walk(function)}
    for function in inside:  # a generator of the test, which gives what the pipeline answers
        if any(isinstance(node, ast.Yield) for node in ast.walk(function)):
            exec(compile(ast.Module([function], []), "<test>", "exec"), names)
    nodes = [node for node in ast.walk(test) if id(node) not in hidden and hasattr(node, "lineno")]
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
            if isinstance(node.value, ast.Constant | ast.BinOp):
                names[target] = _value(node.value, names)
            elif _name_of(node.value) in _MAKERS and isinstance(node.value, ast.Call):
                given = {k.arg: k.value for k in node.value.keywords if k.arg}
                left_out = ("model", "framework", "torch_dtype")
                init = {k: _value(v, names) for k, v in given.items() if k not in left_out}
        if isinstance(node, ast.Call) and _name_of(node) in _CALLED:
            yield {
                "test": test.name,
                "init": init,
                "args": [_value(arg, names) for arg in node.args],
                "kwargs": {k.arg: _value(k.value, names) for k in node.keywords if k.arg},
            }


def _name_of(node: ast.AST) -> str | None:
    function = node.func if isinstance(node, ast.Call) else None
    return function.id if isinstance(function, ast.Name) else None


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    """What an argument is; a generator as {"generator": its items}."""
    found = eval(compile(ast.Expression(node), "<test>", "eval"), {**names})
    return {"generator": list(found)} if isinstance(found, types.GeneratorType) else found


def main() -> None:
    source, commit = Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]
    calls = list(calls_of(source))
    record = {
        "repository": "huggingface/transformers",
        "path": "tests/pipelines/test_pipelines_question_answering.py",
        "commit": commit,
        "number": len(calls),
        "calls": calls,
    }
    text = json.dumps(record, ensure_ascii=False, indent=1)
    CALLS.write_text(text + "\n", encoding="utf-8")
    print(f"{len(calls)} calls in {CALLS.name}")


if __name__ == "__main__":
    main()
