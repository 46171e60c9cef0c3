"""Soft labels: annotators disagree, and a model that learns their shares is less sure of itself.

The demo's labels, one in five of them doubted by a third of its annotators. Nothing else is needed:
cross_entropy takes distributions, and the scores are those of the most probable class.
"""

import csv
import sys
from pathlib import Path

import jaxbert
from jaxbert.demo import CLASSIFICATION


def rows():
    with Path(CLASSIFICATION["train_file"][0]).open(encoding="utf-8") as file:
        table = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    classes = sorted({row["label"] for row in table})
    for number, row in enumerate(table):
        sure = 2 / 3 if number % 5 == 0 else 1.0
        other = next(name for name in classes if name != row["label"])
        row["label"] = {row["label"]: sure, other: 1 - sure}
    return table


def main(**settings):
    demo = {**CLASSIFICATION, "output_dir": "runs/soft", "train_file": None, "train_data": rows()}
    return jaxbert.train("classification", **{**demo, **settings})


if __name__ == "__main__":
    print(main(output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/soft").scores)
