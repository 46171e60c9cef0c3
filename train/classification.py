r"""Fine-tune BERT to classify texts or pairs of texts (Devlin et al. 2019, section 4.1).

Without data it fine-tunes MiniLM-L6 on a built-in demo of opinions. With data (CSV, TSV, JSON,
JSONL, Parquet, or --dataset_name nyu-mll/glue --dataset_config_name mrpc):

    python train/classification.py --model_name_or_path bert-base-cased --train_file train.tsv \
        --validation_file dev.tsv --text_column_name sentence1 sentence2 --label_column_name label \
        --output_dir runs/mrpc --learning_rate 2e-5 --num_train_epochs 3 \
        --per_device_train_batch_size 32

BERT-base cased with these options is published at 59.0 (CoLA, Matthews), 92.2 (SST-2), 83.8 (MNLI)
and 64.8 (RTE), and after 5 epochs at 89.0/84.4 (MRPC, F1 and accuracy): means of five runs on
GLUE's development sets.
"""

from jaxbert import demo
from jaxbert.cli import command_line
from jaxbert.cli.commands import train_command
from jaxbert.options.settings import ClassificationTrainOptions
from jaxbert.tasks.classification import Classification


def main() -> int:
    return train_command(Classification, ClassificationTrainOptions, demo.CLASSIFICATION, __doc__)


if __name__ == "__main__":
    command_line.main(main)
