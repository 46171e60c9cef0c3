r"""Go on with BERT's pre-training on one's own text: masked language modelling (section 3.1).

Without data it trains MiniLM-L6 on built-in lines. With data (a text a line, or a column
of a table):

    python train/mlm.py --model_name_or_path bert-base-uncased --train_file mine.txt \
        --validation_file held_out.txt --output_dir runs/mlm --num_train_epochs 3
    python train/classification.py --model_name_or_path runs/mlm --train_file ...

From scratch: train/vocabulary.py writes a vocabulary and a config.json for --config_name.
Chinese words are masked whole with --words jieba or --words my_words.txt.
"""

from jaxbert import demo
from jaxbert.cli import command_line
from jaxbert.cli.commands import train_command
from jaxbert.options.settings import MLMTrainOptions
from jaxbert.tasks.mlm import MLM


def main() -> int:
    return train_command(MLM, MLMTrainOptions, demo.MLM, __doc__)


if __name__ == "__main__":
    command_line.main(main)
