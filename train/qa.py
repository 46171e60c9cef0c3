"""Fine-tune BERT for extractive question answering (Devlin et al. 2019, sections 4.2 and 4.3).

Without data it fine-tunes MiniLM-L6 on the built-in demo and answers three questions. With data:

    python train/qa.py --model_name_or_path bert-base-uncased --train_file train-v1.1.json \
        --validation_file dev-v1.1.json --output_dir runs/squad --per_device_train_batch_size 12 \
        --learning_rate 3e-5 --num_train_epochs 2 --max_seq_length 384 --doc_stride 128

BERT-base uncased on SQuAD v1.1 with these options is published at EM/F1 81.2/88.5.
The same command again goes on with a run that was stopped.
"""

from __future__ import annotations

from typing import Any

from jaxbert import cli, demo
from jaxbert.options import QATrainOptions
from jaxbert.predictors import QuestionAnswerer
from jaxbert.run import EXIT_STOPPED, train
from jaxbert.tasks import QA


def demo_defaults(options: QATrainOptions) -> dict[str, Any]:
    """Where no training data is named: the demo, and a recipe that suits so little of it."""
    return {} if options.train_file or options.dataset_name else demo.QA_OPTIONS


def main() -> int:
    options = cli.parse(QATrainOptions, defaults=demo_defaults, description=__doc__)
    trained = train(QA, options)
    if not trained.done:
        return EXIT_STOPPED
    if options.train_file == demo.QA_OPTIONS["train_file"]:
        print(demo.show_answers(QuestionAnswerer.from_pretrained(options.output_dir)))
    return 0


if __name__ == "__main__":
    cli.main(main)
