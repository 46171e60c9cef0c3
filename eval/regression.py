r"""Evaluate a regression: Pearson and Spearman correlation, mean squared error, predictions.json.

    python eval/regression.py --model_name_or_path runs/stsb --validation_file dev.tsv \
        --output_dir runs/stsb/eval
"""

from jaxbert.cli import command_line
from jaxbert.cli.commands import evaluate_command
from jaxbert.options.settings import RegressionEvalOptions, RegressionOptions
from jaxbert.tasks.regression import Regression


def main() -> None:
    evaluate_command(Regression, RegressionEvalOptions, RegressionOptions, __doc__)


if __name__ == "__main__":
    command_line.main(main)
