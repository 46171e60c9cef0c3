r"""Evaluate a multiple-choice model: accuracy and predictions.json.

    python eval/multiple_choice.py --model_name_or_path runs/swag --validation_file val.csv \
        --output_dir runs/swag/eval
"""

from jaxbert.cli import command_line
from jaxbert.cli.commands import evaluate_command
from jaxbert.options.settings import MultipleChoiceEvalOptions, MultipleChoiceOptions
from jaxbert.tasks.multiple_choice import MultipleChoice


def main() -> None:
    evaluate_command(MultipleChoice, MultipleChoiceEvalOptions, MultipleChoiceOptions, __doc__)


if __name__ == "__main__":
    command_line.main(main)
