"""Record the answers of transformers' question-answering pipeline, which v5.3 removed.

In an environment of its own, with numpy, PyTorch for the CPU and transformers 4.57:

    python -m venv old && old/bin/pip install "transformers==4.57.*" torch numpy safetensors
    old/bin/python tests/predictors/record_qa_pipeline.py

Nothing of jaxbert is imported. The answers go to qa_pipeline_answers.json, which
test_qa_pipeline.py holds against QuestionAnswerer.
"""

from __future__ import annotations

import json
import tempfile
import types
import warnings
from pathlib import Path
from typing import Any

from qa_calls import ANSWERS, all_calls, digest
from qa_models import write_model


def given(value: Any) -> Any:
    """An argument as it is passed: a list under "generator" as a generator."""
    if isinstance(value, dict) and "generator" in value:
        return (item for item in value["generator"])
    return value


def outcome(answerer: Any, call: dict[str, Any]) -> dict[str, Any]:
    """What a call gives, or the type of what it raises."""
    kwargs = {name: given(value) for name, value in call["kwargs"].items()}
    try:
        found = answerer(*map(given, call["args"]), **kwargs)
        lazy = not isinstance(found, dict | list)
        return {"lazy": lazy, "answer": list(found) if lazy else found}
    except BaseException as error:  # the tokenizers library panics with one of these
        if isinstance(error, KeyboardInterrupt):
            raise
        return {"error": type(error).__name__}


def main() -> None:
    import numpy
    import tokenizers
    import torch
    import transformers

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    calls = all_calls()
    pipelines: dict[str, Any] = {}
    outcomes = {}
    with tempfile.TemporaryDirectory() as place:
        for call in calls:
            key = json.dumps([call["model"], call["init"]])
            if key not in pipelines:
                folder = write_model(Path(place) / str(len(pipelines)), call["model"])
                pipelines[key] = transformers.pipeline(
                    "question-answering", model=str(folder), device="cpu", **call["init"]
                )
            outcomes[call["id"]] = outcome(pipelines[key], call)
    modules: list[types.ModuleType] = [transformers, tokenizers, torch, numpy]
    record = {
        "versions": {module.__name__: module.__version__ for module in modules},
        "calls": digest(calls),
    }
    lines = ",\n".join(
        f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=False, separators=(',', ':'))}"
        for key, value in outcomes.items()
    )
    head = json.dumps(record)[:-1]
    ANSWERS.write_text(f'{head}, "outcomes": {{\n{lines}\n}}}}\n', encoding="utf-8")
    raised = sum("error" in value for value in outcomes.values())
    print(f"{len(calls)} calls, {raised} of them raise; transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
