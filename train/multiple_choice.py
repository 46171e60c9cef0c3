r"""Fine-tune BERT to choose the right ending or answer (Devlin et al. 2019, section 4.4).

Without data it fine-tunes MiniLM-L6 on a built-in demo. With data (SWAG's columns sent1, sent2,
ending0 ... and label, or context, question, choices, label):

    python train/multiple_choice.py --model_name_or_path bert-base-uncased --train_file train.csv \
        --validation_file val.csv --output_dir runs/swag --learning_rate 5e-5 \
        --num_train_epochs 3 --per_device_train_batch_size 16

BERT-base uncased is published at 81.6 accuracy on SWAG's development set.
"""

from jaxbert import demo
from jaxbert.cli import command_line
from jaxbert.cli.commands import train_command
from jaxbert.options.settings import MultipleChoiceTrainOptions
from jaxbert.tasks.multiple_choice import MultipleChoice


def main() -> int:
    return train_command(MultipleChoice, MultipleChoiceTrainOptions, demo.MULTIPLE_CHOICE, __doc__)


if __name__ == "__main__":
    command_line.main(main)
