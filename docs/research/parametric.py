"""A loss with parameters of its own: a center of each class, which [CLS] vectors are drawn to.

Center loss (Wen et al. 2016), its centers learned by the optimizer: cross-entropy and
distance / 2 |x - c_y|^2. They lie in loss.safetensors beside the model.
"""

import sys

import jax
import jax.numpy as jnp

import jaxbert
from jaxbert.demo import CLASSIFICATION


def init(key, cfg):
    shape = (len(cfg.id2label), cfg.hidden_size)
    return {"centers": {"embedding": 0.1 * jax.random.normal(key, shape)}}


def loss(outputs, batch, loss_params, pooler_output, *, distance=0.1):
    labels = batch["labels"][:, None]
    log_p = jnp.take_along_axis(jax.nn.log_softmax(outputs["logits"]), labels, axis=1)[:, 0]
    center = loss_params["centers"]["embedding"][batch["labels"]]
    apart = jnp.sum((pooler_output - center) ** 2, axis=-1) / 2
    return distance * apart - log_p


def main(**settings):
    demo = {**CLASSIFICATION, "output_dir": "runs/parametric", "loss": __file__}
    return jaxbert.train("classification", **{**demo, **settings})


if __name__ == "__main__":
    print(main(output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/parametric").scores)
