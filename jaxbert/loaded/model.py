"""LoadedModel: a model with its tokenizer on its devices, ready to be trained or asked."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxbert.data.batch import Batch
from jaxbert.data.features import Features
from jaxbert.data.sampling import NumpyBatch
from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.losses.forms import Arrays
from jaxbert.model.choose_attention import choose_attention
from jaxbert.model.config import BertConfig
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Apply, Params, init_params, make_apply
from jaxbert.model.lora import LORA, Lora, adapted, draw_lora, merged
from jaxbert.model.peft_folder import ADAPTERS, save_adapter
from jaxbert.model.pretrained import load_pretrained, save_pretrained
from jaxbert.model.tokenizer import PreTrainedTokenizerFast, load_tokenizer
from jaxbert.runtime.device_memory import memory_is_told
from jaxbert.runtime.target import Target
from jaxbert.training.parallel import Parallel, make_parallel
from jaxbert.training.predict import cached_tokens, predict
from jaxbert.training.step import make_predict_step
from jaxbert.training.window_arrays import WindowArrays

# (outputs, batch) -> the small arrays that are kept of a prediction.
Reduce = Callable[[Arrays, Batch[jax.Array]], Arrays]

_TAKES_LESS = "give fewer rows of a batch (--per_device_eval_batch_size, or batch_size)"


@dataclasses.dataclass(frozen=True)
class Compute:
    """How and on what a model is computed.

    Attributes:
        dtype: of the activations, "float32", "bfloat16" or "float16".
        attention: "auto" or the name of a backend; see model.choose_attention.
        packing: it is trained on packed rows. Predictions have none.
        parallel: the devices.
        target: what these are.
        matmul_precision: of products in float32, as jax.default_matmul_precision has it.
    """

    dtype: str = "float32"
    attention: str = "auto"
    packing: bool = False
    parallel: Parallel = dataclasses.field(default_factory=make_parallel)
    target: Target = dataclasses.field(default_factory=Target.here)
    matmul_precision: str = "default"

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise InputError(
                f"dtype is {shown(repr(self.dtype))}: give float32, bfloat16 or float16"
            )
        if self.dtype == "float16" and self.target.platform == "tpu":
            raise InputError("dtype float16: a TPU multiplies bfloat16; give that")


class LoadedModel:
    """A model with one head, its tokenizer, and how it is computed.

    Attributes:
        cfg: the configuration, with the names of the classes.
        tokenizer: of the same vocabulary.
        head: a name in model.heads.HEADS.
        compute: dtype, attention and devices.
        lora: how matrices are adapted, whose changes the parameters have under `lora`; or None.
        programs: the prediction steps made so far, by what they keep and their attention.
    """

    def __init__(
        self,
        cfg: BertConfig,
        params: Params,
        tokenizer: PreTrainedTokenizerFast,
        head: str,
        compute: Compute,
        lora: Lora | None = None,
    ) -> None:
        self.cfg, self.tokenizer, self.head, self.compute = cfg, tokenizer, head, compute
        self.lora = lora
        self.programs: dict[tuple[Reduce, str], Callable[[Params, Batch[jax.Array]], Arrays]] = {}
        # On the host until the first prediction by them, then only on the devices.
        self._params, self._on_devices = params, False

    @classmethod
    def from_folder(
        cls,
        path_or_name: str | Path,
        head: str,
        compute: Compute,
        *,
        draw_head: bool = False,
        key: jax.Array | None = None,
        id2label: Sequence[str] | None = None,
        window_attention: bool | None = None,
        tokenizer: str | Path | None = None,
        of_words: bool = False,
    ) -> Self:
        """Open a folder or a Hub name.

        Args:
            draw_head, key, id2label, window_attention: see load_pretrained; by default a model
                without the head is refused.
            tokenizer: the folder or Hub name of another tokenizer.
            of_words: see load_tokenizer.

        Raises:
            InputError: the model or its tokenizer cannot be used.
        """
        folder = find_model_folder(path_or_name)
        cfg, params = load_pretrained(
            folder,
            head,
            key=key,
            draw_head=draw_head,
            id2label=id2label,
            window_attention=window_attention,
        )
        words = load_tokenizer(
            find_model_folder(tokenizer) if tokenizer else folder,
            vocab_size=cfg.vocab_size,
            of_words=of_words,
        )
        return cls(cfg, params, words, head, compute)

    @classmethod
    def from_config(
        cls,
        cfg: BertConfig,
        tokenizer: PreTrainedTokenizerFast,
        head: str,
        compute: Compute,
        *,
        key: jax.Array,
    ) -> Self:
        """A model with random weights, drawn from the key."""
        params = jax.jit(functools.partial(init_params, cfg, head))(key)
        return cls(cfg, params, tokenizer, head, compute)

    def with_lora(self, lora: Lora, key: jax.Array) -> Self:
        """The model with changes that are drawn from the key, of equal outputs until they are
        trained.

        Raises:
            InputError: a target is no matrix of this model.
        """
        drawn = jax.jit(functools.partial(draw_lora, lora, self.cfg, self.head))(key)
        params = {**self.params, LORA: jax.device_get(drawn)}
        return type(self)(self.cfg, params, self.tokenizer, self.head, self.compute, lora)

    @property
    def params(self) -> Params:
        """The parameters on the host, float32; once the model has been asked, a new copy."""
        if not self._on_devices:
            return self._params
        params: Params = self.compute.parallel.fetch(self._params)
        return params

    def attention_for(self, lengths: Sequence[int], *, train: bool = False) -> tuple[str, str]:
        """The attention for rows of these lengths, and why it is that one.

        Args:
            train: the rows are those of a training, packed if it packs, with dropout.

        Raises:
            InputError: the backend that was asked for cannot compute it.
        """
        compute = self.compute
        return choose_attention(
            compute.attention,
            dtype=compute.dtype,
            heads=self.cfg.num_attention_heads,
            head_size=self.cfg.head_size,
            lengths=lengths,
            packed=train and compute.packing,
            dropout=self.cfg.attention_probs_dropout_prob if train else 0.0,
            target=compute.target,
        )

    def train_apply(
        self, lengths: Sequence[int], *, remat: bool = False, scan: bool = False
    ) -> Apply:
        """The model as each device computes it in training, on rows of these lengths; see
        make_apply."""
        kernel, _ = self.attention_for(lengths, train=True)
        return self._apply(kernel, None, remat=remat, scan=scan)

    def predict(
        self,
        features: Features,
        reduce: Reduce,
        *,
        size: int,
        buckets: Sequence[int],
        params: Params | None = None,
        corrupt: Callable[[NumpyBatch], NumpyBatch] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> WindowArrays | None:
        """What `reduce` keeps of every window's outputs, without dropout.

        Args:
            reduce: (outputs, batch) -> arrays with a row for each of the batch's. Equal ones share
                a program, which compiles once for a shape: so give one function again and again,
                or a frozen dataclass that can be called.
            size: rows of a batch, a multiple of the devices; see training.predict.
            buckets: the lengths that rows are padded to.
            params: replicated on the model's devices, in place of its own.
            corrupt: what is done to a batch on the host.
            stopped: asked before each batch; when it is true, prediction ends.

        Returns:
            name -> (M, ...), row m for window m of the features; None when it was stopped.

        Raises:
            InputError: the attention that was asked for cannot compute rows of these lengths, or
                the device's memory or the disk's does not suffice.
        """
        kernel, _ = self.attention_for(buckets)
        with memory_is_told("prediction", _TAKES_LESS):
            return predict(
                self._program(reduce, kernel),
                self._replicated() if params is None else params,
                features,
                self.compute.parallel,
                size=size,
                buckets=buckets,
                device_tokens=cached_tokens(self.compute.target.platform),
                prepare=corrupt or _unchanged,
                stopped=stopped,
            )

    def save(self, folder: str | Path, params: Params | None = None) -> None:
        """Write a folder that from_folder and transformers open; see save_pretrained.

        Of an adapted model it has the merged weights, and in adapter/ PEFT's folder.

        Args:
            params: on the host, in place of the model's own.
        """
        params = self.params if params is None else params
        if self.lora is not None:
            place = Path(folder) / ADAPTERS
            save_adapter(place, self.lora, self.cfg, params, head=self.head)
            params = merged(params, self.lora.scale)
        save_pretrained(folder, self.cfg, params, self.tokenizer, head=self.head)

    def _apply(
        self, kernel: str, mesh: Mesh | None, *, remat: bool = False, scan: bool = False
    ) -> Apply:
        precision = self.compute.matmul_precision
        apply = make_apply(
            self.cfg,
            self.head,
            dtype=jnp.dtype(self.compute.dtype),
            remat=remat,
            attention=kernel,
            scan=scan,
            target=self.compute.target,
            mesh=mesh,
            matmul_precision=None if precision == "default" else precision,
            lora_dropout=0.0 if self.lora is None else self.lora.dropout,
        )
        return apply if self.lora is None else adapted(apply, self.lora.scale)

    def _program(self, reduce: Reduce, kernel: str) -> Callable[[Params, Batch[jax.Array]], Arrays]:
        key = reduce, kernel
        if key not in self.programs:
            step = make_predict_step(self._apply(kernel, self.compute.parallel.mesh), reduce)
            self.programs[key] = self.compute.parallel.compile_predict(step)
        return self.programs[key]

    def _replicated(self) -> Params:
        if not self._on_devices:
            self._params = self.compute.parallel.replicate(self._params)
            self._on_devices = True
        return self._params


def _unchanged(batch: NumpyBatch) -> NumpyBatch:
    return batch
