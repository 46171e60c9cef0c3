r"""Evaluate a fine-tuned folder: official scores, predictions, n-best lists.

    python eval/qa.py --model_name_or_path runs/squad --validation_file dev-v1.1.json \
        --output_dir runs/squad/eval

Windows and answer lengths are as the model was trained, unless other flags are given.
"""

from jaxbert.cli import command_line
from jaxbert.cli.commands import evaluate_command
from jaxbert.options.settings import QAEvalOptions, QAOptions
from jaxbert.tasks.qa import QA


def main() -> None:
    evaluate_command(QA, QAEvalOptions, QAOptions, __doc__)


if __name__ == "__main__":
    command_line.main(main)
