r"""Evaluate a classifier: accuracy, F1, Matthews correlation, and predictions.json.

    python eval/classification.py --model_name_or_path runs/mrpc --validation_file dev.tsv \
        --output_dir runs/mrpc/eval

A file without a column of labels gives predictions alone.
"""

from jaxbert.cli import command_line
from jaxbert.cli.commands import evaluate_command
from jaxbert.options.settings import ClassificationEvalOptions, ClassificationOptions
from jaxbert.tasks.classification import Classification


def main() -> None:
    evaluate_command(Classification, ClassificationEvalOptions, ClassificationOptions, __doc__)


if __name__ == "__main__":
    command_line.main(main)
