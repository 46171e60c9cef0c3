r"""Evaluate a masked language model: perplexity and accuracy at masked tokens.

    python eval/mlm.py --model_name_or_path runs/mlm --validation_file held_out.txt \
        --output_dir runs/mlm/eval
"""

from jaxbert.cli import command_line
from jaxbert.cli.commands import evaluate_command
from jaxbert.options.settings import MLMEvalOptions, MLMOptions
from jaxbert.tasks.mlm import MLM


def main() -> None:
    evaluate_command(MLM, MLMEvalOptions, MLMOptions, __doc__)


if __name__ == "__main__":
    command_line.main(main)
