r"""Fine-tune BERT to give a number to a text or a pair of texts: STS-B.

Without data it fine-tunes MiniLM-L6 on a built-in demo of sentence pairs. With data:

    python train/regression.py --model_name_or_path bert-base-cased --train_file train.tsv \
        --validation_file dev.tsv --text_column_name sentence1 sentence2 --label_column_name score \
        --output_dir runs/stsb --learning_rate 2e-5 --num_train_epochs 3 \
        --per_device_train_batch_size 32

BERT-base cased with these options is published at Pearson/Spearman 88.9/88.6 on STS-B.
"""

from jaxbert import demo
from jaxbert.cli import command_line
from jaxbert.cli.commands import train_command
from jaxbert.options.settings import RegressionTrainOptions
from jaxbert.tasks.regression import Regression


def main() -> int:
    return train_command(Regression, RegressionTrainOptions, demo.REGRESSION, __doc__)


if __name__ == "__main__":
    command_line.main(main)
