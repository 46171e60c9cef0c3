"""Two views of a text: its vector is to be nearer to that of its own second view than to others'.

NT-Xent (Chen et al. 2020) over groups of rows that lie one behind the other, so the loss is the
same on any number of devices; here a view is the text without its last word.
"""

import csv
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

import jaxbert
from jaxbert.demo import CLASSIFICATION
from jaxbert.losses.forms import second_view, unit


def contrast(apply, params, batch, key, *, group=2, temperature=0.1):
    also = {"train": True, "also": ["pooler_output"]}
    one = apply(params, batch, key=key, **also)["pooler_output"]
    two = apply(params, second_view(batch), key=jax.random.fold_in(key, 1), **also)["pooler_output"]
    a, b = (unit(x).reshape(-1, group, x.shape[-1]) for x in (one, two))
    log_p = jax.nn.log_softmax(jnp.einsum("gid,gjd->gij", a, b) / temperature, axis=-1)
    return -jnp.diagonal(log_p, axis1=1, axis2=2).reshape(-1)


def main(**settings):
    with Path(CLASSIFICATION["train_file"][0]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    data = [{**row, "text_augmented": row["sentence"].rpartition(" ")[0]} for row in rows]
    demo = {**CLASSIFICATION, "output_dir": "runs/views", "view_column": "text_augmented"}
    demo |= {"loss": f"cross_entropy:1.0 {__file__}:contrast:0.1", "train_file": None}
    return jaxbert.train("classification", **{**demo, "train_data": data, **settings})


if __name__ == "__main__":
    print(main(output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/views").scores)
