"""A loss on hidden states: every layer's [CLS] vector is to name the class (deep supervision).

Each layer has a classifier of its own (Lee et al. 2015), in loss.safetensors beside the model; the
loss is the mean over layers of their cross-entropies, beside that of the last one's head.
"""

import sys

import jax
import jax.numpy as jnp

import jaxbert
from jaxbert.demo import CLASSIFICATION
from jaxbert.model.segments import first_tokens


class Deep:
    def init(self, key, cfg):
        shape = (cfg.num_hidden_layers, cfg.hidden_size, len(cfg.id2label))
        return {"kernel": 0.02 * jax.random.normal(key, shape)}

    def loss(self, outputs, batch, hidden_states, loss_params):
        first = jnp.stack([first_tokens(x, batch) for x in hidden_states[1:]])  # (L, B, D)
        logits = jnp.einsum("lbd,ldc->lbc", first, loss_params["kernel"])
        labels = batch["labels"][None, :, None]
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), labels, axis=2)[..., 0]
        return -jnp.mean(log_p, axis=0)


def main(**settings):
    demo = {**CLASSIFICATION, "output_dir": "runs/deep"}
    demo["loss"] = f"cross_entropy:1.0 {__file__}:Deep:0.5"
    return jaxbert.train("classification", **{**demo, **settings})


if __name__ == "__main__":
    print(main(output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/deep").scores)
