r"""Evaluate a tagger: precision, recall and F1 of entities, accuracy of words, predictions.json.

    python eval/tagging.py --model_name_or_path runs/ner --validation_file dev.conll \
        --output_dir runs/ner/eval
"""

from jaxbert.cli import command_line
from jaxbert.cli.commands import evaluate_command
from jaxbert.options.settings import TaggingEvalOptions, TaggingOptions
from jaxbert.tasks.tagging import Tagging


def main() -> None:
    evaluate_command(Tagging, TaggingEvalOptions, TaggingOptions, __doc__)


if __name__ == "__main__":
    command_line.main(main)
