"""Time encode_qa beside the tokenizer alone. Not a test: python tests/data/time_features.py FILE"""

from __future__ import annotations

import resource
import statistics
import sys
import time

from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.questions import read_qa
from jaxbert.model.folders import find_model_folder
from jaxbert.model.tokenizer import load_tokenizer


def main() -> None:
    examples = read_qa([sys.argv[1]]).examples
    tokenizer = load_tokenizer(find_model_folder("minilm-l6"))
    questions, contexts = [e.question for e in examples], [e.context for e in examples]
    ours, alone = [], []
    for _ in range(5):
        began = time.perf_counter()
        features = encode_qa(examples, tokenizer)
        middle = time.perf_counter()
        tokenizer(
            questions,
            contexts,
            truncation="only_second",
            max_length=384,
            stride=128,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        ours.append(middle - began)
        alone.append(time.perf_counter() - middle)
    a, b = statistics.median(ours), statistics.median(alone)
    print(f"{len(features)} windows of {len(examples)} questions")
    print(f"encode_qa {a:.2f} s, the tokenizer alone {b:.2f} s: {a / b:.2f} times")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process {peak:.0f} MiB")


if __name__ == "__main__":
    main()
