"""Evaluate a fine-tuned folder: official scores, predictions, n-best lists.

    python eval/qa.py --model_name_or_path runs/squad --validation_file dev-v1.1.json \
        --output_dir runs/squad/eval

Windows and answer lengths are as the model was trained, unless other flags are given.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from jaxbert import cli
from jaxbert.options import QAEvalOptions, QAOptions
from jaxbert.output import saved_options
from jaxbert.run import evaluate
from jaxbert.tasks import QA


def trained_defaults(options: QAEvalOptions) -> dict[str, Any]:
    """The task's options as the folder was trained with."""
    if not options.model_name_or_path:
        return {}
    saved = saved_options(Path(options.model_name_or_path).expanduser())
    names = {field.name for field in dataclasses.fields(QAOptions)} - {"metric"}
    return {name: value for name, value in saved.items() if name in names}


def main() -> None:
    evaluate(QA, cli.parse(QAEvalOptions, defaults=trained_defaults, description=__doc__))


if __name__ == "__main__":
    cli.main(main)
