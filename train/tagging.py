r"""Fine-tune BERT to label words: named entities, parts of speech (Devlin et al. 2019, 5.3).

Without data it fine-tunes MiniLM-L6 on a built-in demo. With data (CoNLL columns, or rows of tokens
and ner_tags):

    python train/tagging.py --model_name_or_path bert-base-cased --train_file train.conll \
        --validation_file dev.conll --output_dir runs/ner --learning_rate 5e-5 \
        --num_train_epochs 3 --per_device_train_batch_size 32

BERT-base on CoNLL-2003 is published at F1 92.4 (with the context of whole documents).
"""

from jaxbert import demo
from jaxbert.cli import command_line
from jaxbert.cli.commands import train_command
from jaxbert.options.settings import TaggingTrainOptions
from jaxbert.tasks.tagging import Tagging


def main() -> int:
    return train_command(Tagging, TaggingTrainOptions, demo.TAGGING, __doc__)


if __name__ == "__main__":
    command_line.main(main)
