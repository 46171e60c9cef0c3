"""A loop without fit: a tiny model learns whether a text's first token is above 50.

python examples/own_loop.py
"""

import itertools

import jax
import numpy as np

from jaxbert import BertConfig, init_params, make_apply
from jaxbert.data.batch_source import BatchSource
from jaxbert.data.features import Features
from jaxbert.data.sampling import BucketSampler
from jaxbert.losses.label_losses import label_accuracy, label_cross_entropy
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.step import init_state, make_train_step

STEPS, ROWS = 60, 32
CFG = BertConfig(100, 32, 1, 2, 64, max_position_embeddings=16, id2label=("low", "high"))

rng = np.random.default_rng(0)
bounds = np.concatenate([[0], np.cumsum(rng.integers(4, 17, 500))])  # text m: bounds[m] to [m + 1]
ids = rng.integers(1, 100, bounds[-1]).astype(np.int32)
tokens = {"input_ids": ids, "token_type_ids": np.zeros_like(ids)}
labels = (ids[bounds[:-1]] > 50).astype(np.int32)
features = Features(bounds, tokens, {"labels": labels}, example=np.arange(500))
source = BatchSource(features, BucketSampler(features.lengths, ROWS, seed=0, buckets=(16,)))

apply = make_apply(CFG, "classification")
tx = adamw(make_schedule(3e-3, steps=STEPS, warmup_steps=10), weight_decay=0.01)
step = jax.jit(make_train_step(apply, label_cross_entropy, tx, measure=label_accuracy))
params = jax.jit(lambda key: init_params(CFG, "classification", key))(jax.random.key(0))
state = init_state(params, tx)
for batch in itertools.islice(source.iter_from(0), STEPS):
    state, metrics = step(state, batch, jax.random.key(1))
    if state.step % 15 == 0:
        print(f"step {state.step}: loss {metrics['loss']:.3f} accuracy {metrics['accuracy']:.2f}")
