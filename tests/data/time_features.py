"""Time what makes features beside the tokenizer alone. Not a test:

python tests/data/time_features.py qa FILE.json [WORKERS]
python tests/data/time_features.py mlm FILE.txt [WORKERS]

Both have all cores: the tokenizer by its threads, jaxbert by them or, with WORKERS, by processes,
which start before the clock does no more than in a run.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerFast

from jaxbert.data.questions import QAExample
from jaxbert.data.stored_lines import LineExample
from jaxbert.options.task_settings import MLMTrainOptions, QATrainOptions
from jaxbert.runs.encoding import encode_examples
from jaxbert.runs.inputs import load_model
from jaxbert.runs.training_inputs import PythonInputs, read_data
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.qa import QA

AT_ONCE = 1000  # texts that the tokenizer alone is given, as datasets.map does


def questions(examples: Sequence[QAExample], tokenizer: PreTrainedTokenizerFast) -> None:
    """Windows of questions by the tokenizer alone."""
    tokenizer(
        [e.question for e in examples],
        [e.context for e in examples],
        truncation="only_second",
        max_length=384,
        stride=128,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )


def lines(examples: Sequence[LineExample], tokenizer: PreTrainedTokenizerFast) -> None:
    """Tokens of lines by the tokenizer alone."""
    texts = [e.text for e in examples]
    tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    name, file, *more = sys.argv[1:]
    workers = int(more[0]) if more else 0
    chosen = {"model_name_or_path": "minilm-l6", "train_file": [file]}
    if name == "qa":
        options: QATrainOptions | MLMTrainOptions = QATrainOptions(**chosen)
        task, alone = QA(options.part(QA.settings_cls)), questions
    else:
        options = MLMTrainOptions(**chosen, max_seq_length=128)
        task, alone = MLM(options.part(MLM.settings_cls)), lines
    read = read_data(task, PythonInputs(), **options.data())
    model, examples = load_model(read.task, options, read.data), read.data.examples

    def ours() -> None:
        encode_examples(read.task, examples, model.tokenizer, model.cfg, workers=workers)

    def rival() -> None:
        for n in range(0, len(examples), AT_ONCE):
            alone(examples[n : n + AT_ONCE], model.tokenizer)

    pairs = [(seconds(ours), seconds(rival)) for _ in range(5)]
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{len(examples):,} examples, {workers} workers")
    print(
        f"features {a:.2f} s, the tokenizer alone {b:.2f} s: {statistics.median(ratios):.2f} times "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process {peak:.0f} MiB")


if __name__ == "__main__":
    main()
