"""An optimizer of one's own: AdamW on gradients whose mean over the inputs of each unit is taken
out, gradient centralization (Yong et al. 2020), beside AdamW with the same data and steps.

It is a function of optax; clipping, freezing and averages are put around it, and a resumed run has
its state. On a command line: --optim docs/research/custom_optimizer.py:centralized.
"""

import sys

import optax

import jaxbert
from jaxbert.demo import CLASSIFICATION


def centralized(learning_rate, weight_decay, mask, b1: float = 0.9, b2: float = 0.999):
    return optax.chain(
        optax.centralize(),
        optax.scale_by_adam(b1, b2),
        optax.add_decayed_weights(weight_decay, mask=mask),
        optax.scale_by_learning_rate(learning_rate),
    )


def main(**settings):
    demo = {**CLASSIFICATION, "weight_decay": 0.01, **settings}
    folder = str(demo.pop("output_dir", "runs/optimizer"))
    for optim in ("adamw", f"{__file__}:centralized"):
        name = optim.rpartition(":")[2]
        run = jaxbert.train("classification", output_dir=f"{folder}/{name}", optim=optim, **demo)
        losses = [record["loss"] for record in run.history if "loss" in record]
        shown = f"loss {sum(losses[-4:]) / 4:.4f} in the last steps"
        print(f"{name:12} {shown}, eval_loss {run.scores['eval_loss']:.4f}")
    return run


if __name__ == "__main__":
    print(main(output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/optimizer").scores)
