"""A curriculum: short texts first. It is a pure function of the step, so a resumed run has it too.

Competence-based (Platanios et al. 2019, equation 7): after t of `steps` steps the share of the
lengths that count is sqrt(t (1 - c^2) / steps + c^2), c the share at the start.
"""

import sys

import jax
import jax.numpy as jnp

import jaxbert
from jaxbert.demo import CLASSIFICATION


def loss(outputs, batch, step, *, steps=60, first=0.3, longest=40.0):
    share = jnp.sqrt(jnp.minimum(1.0, step * (1 - first**2) / steps + first**2))
    length = jnp.sum(batch["attention_mask"], axis=-1)
    weight = batch["weight"] * jnp.where(length <= share * longest, 1.0, 0.1)
    labels = batch["labels"][:, None]
    log_p = jnp.take_along_axis(jax.nn.log_softmax(outputs["logits"]), labels, axis=1)[:, 0]
    return jnp.sum(-log_p * weight), jnp.sum(weight)


def main(**settings):
    demo = {**CLASSIFICATION, "output_dir": "runs/curriculum", "loss": f"{__file__}:loss"}
    return jaxbert.train("classification", **{**demo, **settings})


if __name__ == "__main__":
    print(main(output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/curriculum").scores)
