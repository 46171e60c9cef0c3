"""jaxbert's side: the model and the training step, as users have them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxbert.benchmark.synthetic import CLIP_NORM, LEARNING_RATE, WEIGHT_DECAY
from jaxbert.data.sampling import NumpyBatch
from jaxbert.losses.forms import Arrays
from jaxbert.losses.span_losses import span_accuracy, span_cross_entropy
from jaxbert.model.config import SIZES, BertConfig
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Params, init_params, make_apply
from jaxbert.model.pretrained import load_pretrained
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.parallel import CompiledStep, Parallel, make_parallel, prefetch
from jaxbert.training.step import TrainState, init_state, make_train_step


def load(name: str) -> tuple[BertConfig, Params]:
    """A model with a head for questions; bert-base and bert-large have random weights, which train
    as fast."""
    key = jax.random.key(0)
    if (cfg := SIZES.get(name)) is not None:
        return cfg, jax.device_get(jax.jit(lambda k: init_params(cfg, "qa", k))(key))
    return load_pretrained(find_model_folder(name), "qa", key=key, draw_head=True)


def computed_in(cfg: BertConfig, params: Params, batch: NumpyBatch, precision: str) -> str:
    """The dtype that the model's layers compute in when this precision is asked for."""
    apply = make_apply(cfg, "qa", dtype=jnp.dtype(precision))
    return str(jax.eval_shape(apply, params, batch)["last_hidden_state"].dtype)


@dataclasses.dataclass
class Training:
    """A compiled training step of question answering with its state and batches.

    Attributes:
        step: it takes the state's memory for the state that it returns.
        batches: with the axis of micro-batches, on the host.
    """

    parallel: Parallel
    step: CompiledStep
    state: TrainState
    batches: list[NumpyBatch]

    def run(self) -> float:
        """Train on all batches once, and return the seconds."""
        key = jax.random.key(0)
        metrics: Arrays = {}
        jax.block_until_ready((self.state, key))
        start = time.perf_counter()
        for batch in prefetch(self.batches, self.parallel.shard):
            self.state, metrics = self.step(self.state, batch, key)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - start


def prepare(
    cfg: BertConfig,
    params: Params,
    batches: Sequence[NumpyBatch],
    *,
    precision: str,
    attention: str = "xla",
    remat: bool = False,
    devices: int | None = None,
    learning_rate: float = LEARNING_RATE,
) -> Training:
    """The step as `jaxbert train qa` makes it."""
    parallel = make_parallel("auto", jax.local_devices()[: devices or 1])
    apply = make_apply(
        cfg,
        "qa",
        dtype=jnp.dtype(precision),
        attention=attention,
        remat=remat,
    )
    tx = adamw(
        make_schedule(learning_rate, steps=10**6, warmup_steps=0, decay="linear"),
        weight_decay=WEIGHT_DECAY,
        clip_norm=CLIP_NORM,
    )
    step = make_train_step(
        apply,
        span_cross_entropy,
        tx,
        measure=span_accuracy,
        axis_name=parallel.axis_name,
        mesh=parallel.mesh,
    )
    state = parallel.replicate(jax.device_get(init_state(params, tx)))
    ready = [{n: x[None] for n, x in batch.items()} for batch in batches]
    return Training(parallel, parallel.compile_train(step), state, ready)
