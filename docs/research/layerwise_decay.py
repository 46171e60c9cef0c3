"""Layer-wise decay of the learning rate: how far has each layer moved from where it began?

Lower layers hold what is common to all texts, so they are to move less (Howard & Ruder 2018).
Prints |W - W0| / |W0| of every layer, beside the factor of its learning rate.
"""

import collections
import re
import sys

import numpy as np
from safetensors.numpy import load_file

import jaxbert
from jaxbert.demo import CLASSIFICATION
from jaxbert.model.folders import find_model_folder

DECAY = 0.7


def main(**settings):
    demo = {**CLASSIFICATION, "output_dir": "runs/layers", "layerwise_lr_decay": DECAY, **settings}
    run = jaxbert.train("classification", **demo)
    start = load_file(find_model_folder(demo["model_name_or_path"]) / "model.safetensors")
    start = {name.removeprefix("bert."): x for name, x in start.items()}
    sums = collections.defaultdict(lambda: np.zeros(2))
    for name, x in load_file(run.output_dir / "model.safetensors").items():
        name = name.removeprefix("bert.")
        if layer := re.match(r"encoder\.layer\.(\d+)", name):
            sums[int(layer[1])] += [((x - start[name]) ** 2).sum(), (start[name] ** 2).sum()]
    for number, (moved, size) in sorted(sums.items()):
        factor = demo["layerwise_lr_decay"] ** (len(sums) - number)
        print(f"layer {number}: rate times {factor:.3f}, moved by {np.sqrt(moved / size):.5f}")
    return run


if __name__ == "__main__":
    print(main(output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/layers").scores)
