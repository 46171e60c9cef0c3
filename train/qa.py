r"""Fine-tune BERT for extractive question answering (Devlin et al. 2019, sections 4.2 and 4.3).

Without data it fine-tunes MiniLM-L6 on the built-in demo and answers three questions. With data:

    python train/qa.py --model_name_or_path bert-base-uncased --train_file train-v1.1.json \
        --validation_file dev-v1.1.json --output_dir runs/squad --per_device_train_batch_size 12 \
        --learning_rate 3e-5 --num_train_epochs 2 --max_seq_length 384 --doc_stride 128

BERT-base uncased on SQuAD v1.1 with these options is published at EM/F1 81.2/88.5.
The same command again goes on with a run that was stopped.
"""

from jaxbert import QuestionAnswerer, demo
from jaxbert.cli import command_line
from jaxbert.cli.commands import train_command
from jaxbert.options.settings import QATrainOptions
from jaxbert.tasks.qa import QA


def ask(folder: str) -> str:
    return demo.show_answers(QuestionAnswerer.from_pretrained(folder))


def main() -> int:
    return train_command(QA, QATrainOptions, demo.QA, __doc__, afterwards=ask)


if __name__ == "__main__":
    command_line.main(main)
