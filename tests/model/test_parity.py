"""The encoder, its gradients and its training against transformers' PyTorch classes, in float32.

Both sides have the same random weights; biases and LayerNorm parameters are random too, since at
their usual start of 0 and 1 a swapped or forgotten one would not show.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from conftest import SMALL
from flax import traverse_util

from jaxbert import demo
from jaxbert.benchmark.synthetic import full_batch
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.questions import read_qa
from jaxbert.data.sampling import make_batch
from jaxbert.errors import InputError
from jaxbert.losses.span_losses import span_cross_entropy
from jaxbert.model.attention import Attention
from jaxbert.model.config import BertConfig, config_from_dict
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Outputs, Params, init_params, make_apply, make_hidden_states
from jaxbert.model.pretrained import Entry, load_pretrained, name_table, save_pretrained
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.step import init_state, make_train_step

pytestmark = pytest.mark.integration

Arrays = dict[str, np.ndarray]
SIDES = ("start", "end")
TOLERANCE = 1e-5
# Compiled as users compile it, whatever the other tests do; see conftest.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})
# An eps as large as 0.05 shows whether it is read at all; 1e-12 is BERT's own.
CONFIGS: dict[str, dict[str, Any]] = {
    "gelu-3x5": {
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "hidden_size": 15,
        "hidden_act": "gelu",
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-12,
    },
    "gelu_new-4x6": {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_size": 24,
        "hidden_act": "gelu_new",
        "type_vocab_size": 2,
        "layer_norm_eps": 0.05,
    },
    "relu-1x24": {
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "hidden_size": 24,
        "hidden_act": "relu",
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-12,
    },
}
SIZES = {"vocab_size": 99, "intermediate_size": 40, "max_position_embeddings": 33}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def gap(ours: Any, theirs: Any) -> float:
    """The largest absolute difference, which must be a number."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert a.shape == b.shape
    assert np.isfinite(a).all()
    return float(np.abs(a - b).max())


def random_batch(cfg: BertConfig, seed: int, *, padded: bool = True, rows: int = 6) -> Arrays:
    """Rows of other lengths, the longest one full, and spans inside them; weights of 0, 1 and 2."""
    rng = np.random.default_rng(seed)
    length = 17
    lengths = np.full(rows, length)
    if padded:
        lengths[1:] = rng.permutation([1, 2, 4, 9, 13, 16])[: rows - 1]
    mask = np.arange(length) < lengths[:, None]
    # Not 0: torch has no gradient for the row of [PAD], which is no real token.
    ids = rng.integers(1, cfg.vocab_size, mask.shape)
    types = np.sort(rng.integers(0, cfg.type_vocab_size, mask.shape), axis=1)
    ends = rng.integers(0, lengths)
    return {
        "input_ids": np.where(mask, ids, 0).astype(np.int32),
        "token_type_ids": np.where(mask, types, 0).astype(np.int32),
        "attention_mask": mask.astype(np.int32),
        "start_positions": rng.integers(0, ends + 1).astype(np.int32),
        "end_positions": ends.astype(np.int32),
        "weight": np.resize([1.0, 2.0, 0.0, 1.0], rows).astype(np.float32),
    }


def randomise(model: Any, seed: int) -> None:
    """Every parameter anew, so large that no layer is nearly linear, no softmax nearly flat."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, x in model.named_parameters():
            scale = 0.3 if x.ndim == 1 else 1.2 / x.shape[-1] ** 0.5
            values = rng.normal(size=x.shape) * scale + (name.endswith("LayerNorm.weight"))
            x.copy_(torch.from_numpy(values.astype(np.float32)))


@dataclasses.dataclass(frozen=True)
class Pair:
    """One model twice: transformers' in PyTorch and ours, loaded from what the first one saved."""

    model: Any
    cfg: BertConfig
    params: Params


def make_pair(folder: Path, sizes: dict[str, Any]) -> Pair:
    config = transformers.BertConfig(**SIZES, **sizes, **NO_DROPOUT, attn_implementation="eager")
    model = transformers.BertForQuestionAnswering(config).eval()
    randomise(model, seed=len(sizes["hidden_act"]))
    model.save_pretrained(folder)
    return Pair(model, *load_pretrained(folder, "qa", draw_head=False))


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=CONFIGS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("deep"), CONFIGS["gelu_new-4x6"])


def torch_outputs(model: Any, batch: Arrays) -> Any:
    names = ("input_ids", "token_type_ids", "attention_mask")
    inputs = {n: torch.from_numpy(batch[n].astype(np.int64)) for n in names}
    return model(**inputs, output_hidden_states=True)


def torch_loss(model: Any, batch: Arrays) -> torch.Tensor:
    """Our loss written in PyTorch: transformers' own, without padding in the softmax."""
    outputs = torch_outputs(model, batch)
    padding = torch.from_numpy(batch["attention_mask"] == 0)
    weight = torch.from_numpy(batch["weight"])
    loss = torch.zeros_like(weight)
    for side in SIDES:
        logits = outputs[f"{side}_logits"].masked_fill(padding, -torch.inf)
        gold = torch.from_numpy(batch[f"{side}_positions"].astype(np.int64))
        loss = loss + torch.nn.functional.cross_entropy(logits, gold, reduction="none") / 2
    return (loss * weight).sum() / weight.sum()


@functools.partial(jit, static_argnames="cfg")
def forward(params: Params, batch: Any, cfg: BertConfig) -> tuple[list[jax.Array], Outputs]:
    """Hidden states and logits; compiled once for all tests of a config and a shape."""
    return make_hidden_states(cfg)(params, batch), make_apply(cfg, "qa")(params, batch)


@functools.partial(jit, static_argnames="cfg")
@jax.value_and_grad
def loss_and_gradients(params: Params, batch: Any, cfg: BertConfig) -> jax.Array:
    loss_sum, weight = span_cross_entropy(make_apply(cfg, "qa")(params, batch), batch)
    return loss_sum / weight


def tensors_of(table: list[Entry], params: Params) -> Iterator[tuple[Entry, np.ndarray]]:
    leaves = traverse_util.flatten_dict(params)
    assert set(leaves) == {entry.leaf for entry in table}
    for entry in table:
        yield entry, entry.to_tensor(np.asarray(leaves[entry.leaf]))


def theirs_of(entry: Entry, tensors: dict[str, np.ndarray]) -> np.ndarray:
    tensor = tensors[entry.name]
    return tensor if entry.row is None else tensor[entry.row : entry.row + 1]


def assert_equal_forward(pair: Pair, batch: Arrays) -> None:
    real = batch["attention_mask"] != 0
    with torch.no_grad():
        theirs = torch_outputs(pair.model, batch)
    states, outputs = forward(pair.params, batch, cfg=pair.cfg)
    assert len(states) == len(theirs.hidden_states) == pair.cfg.num_hidden_layers + 1
    for number, (ours, state) in enumerate(zip(states, theirs.hidden_states, strict=True)):
        assert gap(ours[real], state.numpy()[real]) <= TOLERANCE, f"hidden state {number}"
    for name in ("start_logits", "end_logits"):
        assert gap(outputs[name][real], theirs[name].numpy()[real]) <= TOLERANCE, name


# --- forward ----------------------------------------------------------------------------------


def test_every_layer_and_the_logits_equal_torch(pair: Pair) -> None:
    batch = random_batch(pair.cfg, seed=1)
    assert_equal_forward(pair, batch)
    # The weights are not so small that all layers are nearly the identity.
    states, _ = forward(pair.params, batch, cfg=pair.cfg)
    changes = [np.abs(b - a).max() for a, b in itertools.pairwise(states)]
    assert min(changes) > 0.5


def test_saved_folder_opens_in_torch_with_equal_logits(pair: Pair, tmp_path: Path) -> None:
    noise = np.random.default_rng(4)
    params = jax.tree.map(
        lambda x: x + noise.normal(0, 0.1, x.shape).astype(np.float32), pair.params
    )
    save_pretrained(tmp_path, pair.cfg, params, None)
    model, info = transformers.BertForQuestionAnswering.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(info.values()), info
    theirs = config_from_dict(model.config.to_dict(), "transformers")
    # transformers names two classes even where there are none.
    assert dataclasses.replace(theirs, id2label=()) == pair.cfg
    assert_equal_forward(Pair(model.eval(), pair.cfg, params), random_batch(pair.cfg, seed=5))
    _, again = load_pretrained(tmp_path, "qa", draw_head=False)
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_minilm_on_real_questions(tmp_path: Path) -> None:
    try:
        folder = find_model_folder("minilm-l6")
    except InputError as error:
        pytest.skip(str(error))
    cfg, params = load_pretrained(folder, "qa", key=jax.random.key(1))
    examples = read_qa([str(Path(demo.__file__).parent / "qa_en_dev.json")]).examples
    features = encode_qa(examples, load_tokenizer(folder, vocab_size=cfg.vocab_size))
    windows = np.linspace(0, len(features) - 1, 8).astype(int)
    length = int(features.lengths[windows].max()) + 3
    batch = make_batch(features, windows, length, len(windows))
    assert len(set(features.lengths[windows])) > 1
    model = transformers.BertForQuestionAnswering.from_pretrained(
        folder, attn_implementation="eager"
    ).eval()
    with torch.no_grad():  # the checkpoint has no head: PyTorch gets ours
        for entry, tensor in tensors_of(name_table(cfg, "qa"), params):
            if entry.row is not None:
                row = getattr(model.qa_outputs, entry.name.rpartition(".")[2])[entry.row]
                row.copy_(torch.tensor(tensor[0]))
    assert_equal_forward(Pair(model, cfg, params), batch)


# --- gradients --------------------------------------------------------------------------------


def is_zero_in_theory(entry: Entry, cfg: BertConfig) -> bool:
    """Whether a leaf's gradient is exactly 0 in mathematics, and rounding noise on a machine.

    The key's bias adds one number to all scores of a query; the head's bias, and the bias of the
    last LayerNorm before it, one number to all logits of a row. A softmax does not change when a
    number is added to all that it is over.
    """
    last_norm = ("bert", f"layer_{cfg.num_hidden_layers - 1}", "mlp_norm")
    module = entry.leaf[:-1]
    return entry.leaf[-1] == "bias" and (
        module[-1] == "key" or module[0] == "qa_outputs" or module == last_norm
    )


def assert_equal_gradients(pair: Pair, ours: Params, loss: torch.Tensor) -> None:
    pair.model.zero_grad()
    loss.backward()
    tensors = {n: x.grad.numpy().astype(np.float64) for n, x in pair.model.named_parameters()}
    largest = max(np.linalg.norm(x) for x in tensors.values())
    for entry, tensor in tensors_of(name_table(pair.cfg, "qa"), ours):
        a, b = tensor.astype(np.float64).ravel(), theirs_of(entry, tensors).ravel()
        norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
        if is_zero_in_theory(entry, pair.cfg):
            assert max(norm_a, norm_b) <= 1e-6 * largest, entry.leaf
            continue
        assert norm_b > 1e-4 * largest, f"{entry.leaf}: too small to compare"
        assert relative_error(norm_a, norm_b) <= 1e-5, entry.leaf
        assert a @ b / (norm_a * norm_b) >= 0.99999, entry.leaf


def relative_error(a: float, b: float) -> float:
    return abs(a - b) / b


def test_gradients_equal_torch(pair: Pair) -> None:
    batch = random_batch(pair.cfg, seed=6)
    value, ours = loss_and_gradients(pair.params, batch, cfg=pair.cfg)
    loss = torch_loss(pair.model, batch)
    assert gap(value, loss.detach().numpy()) <= TOLERANCE
    assert_equal_gradients(pair, ours, loss)


def test_without_padding_loss_and_gradients_are_transformers_own(pair: Pair) -> None:
    batch = random_batch(pair.cfg, seed=7, padded=False)
    batch["weight"] = np.ones_like(batch["weight"])
    value, ours = loss_and_gradients(pair.params, batch, cfg=pair.cfg)
    inputs = {n: torch.from_numpy(x.astype(np.int64)) for n, x in batch.items() if n != "weight"}
    loss = pair.model(**inputs).loss
    assert gap(value, loss.detach().numpy()) <= TOLERANCE
    assert_equal_gradients(pair, ours, loss)


def test_remat_and_scan_do_not_change_gradients(deep: Pair) -> None:
    """Nor what is dropped."""
    cfg = dataclasses.replace(deep.cfg, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    batch = random_batch(cfg, seed=8)

    def gradient(**how: bool) -> Any:
        apply = make_apply(cfg, "qa", **how)

        def loss(params: Params) -> jax.Array:
            outputs = apply(params, batch, key=jax.random.key(3), train=True)
            loss_sum, weight = span_cross_entropy(outputs, batch)
            return loss_sum / weight

        return jax.grad(loss)

    plain = jax.tree.leaves(jit(gradient())(deep.params))
    largest = max(np.abs(x).max() for x in plain)
    for how in ({"remat": True}, {"scan": True}):
        again = gradient(**how)
        program = str(jax.make_jaxpr(again)(deep.params))
        assert ("remat" in program, "scan[" in program) == ("remat" in how, True)
        for a, b in zip(jax.tree.leaves(jit(again)(deep.params)), plain, strict=True):
            assert gap(a, b) <= 1e-6 * largest


def test_remat_takes_less_memory() -> None:
    cfg = dataclasses.replace(SMALL, num_hidden_layers=4, max_position_embeddings=128)
    batch = full_batch(cfg.vocab_size, 16, 128)
    params = jax.eval_shape(lambda: init_params(cfg, "qa", jax.random.key(0)))

    def memory(remat: bool) -> int:
        apply = make_apply(cfg, "qa", remat=remat)
        compiled = jit(jax.grad(lambda p: span_cross_entropy(apply(p, batch), batch)[0]))
        return compiled.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert memory(True) < 0.5 * memory(False)


# --- training ---------------------------------------------------------------------------------


def torch_adamw(model: Any, rate: float, steps: int, warmup: int) -> tuple[Any, Any]:
    """PyTorch's AdamW as Hugging Face's Trainer sets it up: no decay of biases and LayerNorm."""
    named = list(model.named_parameters())
    plain = [x for n, x in named if n.endswith("bias") or "LayerNorm" in n]
    decayed = [x for n, x in named if not (n.endswith("bias") or "LayerNorm" in n)]
    groups = [
        {"params": decayed, "weight_decay": 0.01},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.999), eps=1e-8)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, warmup, steps)
    return optimizer, schedule


def test_twenty_adamw_steps_equal_torch(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, CONFIGS["gelu-3x5"])
    steps, warmup, rate = 20, 4, 1e-3
    optimizer, torch_schedule = torch_adamw(pair.model, rate, steps, warmup)
    schedule = make_schedule(rate, steps=steps, warmup_steps=warmup)
    tx = adamw(schedule, weight_decay=0.01, clip_norm=1.0)
    train_step = jit(make_train_step(make_apply(pair.cfg, "qa"), span_cross_entropy, tx))
    state = init_state(pair.params, tx)
    losses, norms = [], []
    for step in range(steps):
        batch = random_batch(pair.cfg, seed=100 + step % 4)
        optimizer.zero_grad()
        loss = torch_loss(pair.model, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(pair.model.parameters(), 1.0)
        assert torch_schedule.get_last_lr()[0] == pytest.approx(float(schedule(step)), rel=1e-6)
        optimizer.step()
        torch_schedule.step()
        one = {n: x[None] for n, x in batch.items()}  # one micro-batch
        state, metrics = train_step(state, one, jax.random.key(0))
        assert gap(metrics["loss"], loss.detach().numpy()) <= TOLERANCE, f"step {step}"
        assert gap(metrics["grad_norm"], norm.numpy()) <= 1e-4 * float(norm), f"step {step}"
        losses.append(float(metrics["loss"]))
        norms.append(float(metrics["grad_norm"]))
    assert max(norms) > 1.0  # else clipping was never tried
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_bfloat16_computes_near_float32_and_keeps_float32_parameters(deep: Pair) -> None:
    batch = random_batch(deep.cfg, seed=10)
    real = batch["attention_mask"] != 0
    _, full = forward(deep.params, batch, cfg=deep.cfg)
    apply = make_apply(deep.cfg, "qa", dtype=jnp.bfloat16)
    half = jax.jit(apply)(deep.params, batch)
    no_types = {**batch, "token_type_ids": np.zeros_like(batch["token_type_ids"])}
    _, broken = forward(deep.params, no_types, cfg=deep.cfg)
    for name in ("start_logits", "end_logits"):
        assert half[name].dtype == full[name].dtype == jnp.float32
        size = float(np.std(full[name][real]))
        error = rms_gap(half[name], full[name], real) / size
        # A step of bfloat16 is 2**-8 of a value. Two layers of rounded products make it 3 to 5
        # such steps, as in PyTorch's bfloat16; a model that forgets the token types is 100 off.
        assert 2**-12 < error < 8 * 2**-8
        assert rms_gap(broken[name], full[name], real) / size > 64 * 2**-8

    tx = adamw(make_schedule(1e-3, steps=2, decay="constant"), weight_decay=0.01)
    train_step = make_train_step(apply, span_cross_entropy, tx)
    one = {n: x[None] for n, x in batch.items()}
    # Traced, not computed: dtypes are all that is asked.
    before = init_state(deep.params, tx)
    state, metrics = jax.eval_shape(train_step, before, one, jax.random.key(0))
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert len(floats) == 3 * len(jax.tree.leaves(deep.params))  # parameters, m and v
    assert {x.dtype for x in floats} == {jnp.dtype(jnp.float32)}
    assert {x.dtype for x in metrics.values()} == {jnp.dtype(jnp.float32)}


def rms_gap(a: jax.Array, b: jax.Array, real: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a[real] - b[real]))))


# --- packed rows ------------------------------------------------------------------------------


def test_attention_over_segments_is_attention_in_each_segment() -> None:
    rng = np.random.default_rng(11)
    q, k, v = (jnp.asarray(rng.normal(size=(2, 12, 3, 5)), jnp.float32) for _ in range(3))
    segments = np.array([[1] * 5 + [2] * 4 + [3] + [0] * 2, [7] * 12], np.int32)
    masked = jax.jit(lambda mask: Attention()(q, k, v, key_mask=mask))
    packed = jax.jit(lambda ids: Attention()(q, k, v, segment_ids=ids))(segments)
    for row, number in ((0, 1), (0, 2), (0, 3), (1, 7)):
        mask = segments == number
        alone = masked(mask)
        assert gap(packed[row][mask[row]], alone[row][mask[row]]) <= TOLERANCE
    part = [x[:1, :5] for x in (q, k, v)]  # and with nothing else there
    assert gap(packed[0, :5], Attention()(*part)[0]) <= TOLERANCE
    assert np.isfinite(packed).all()
    with pytest.raises(ValueError, match="not both"):
        Attention()(q, k, v, key_mask=jnp.asarray(segments), segment_ids=jnp.asarray(segments))


def test_packed_rows_give_the_logits_of_the_rows_alone(deep: Pair) -> None:
    batch = random_batch(deep.cfg, seed=12)
    lengths = batch["attention_mask"].sum(1)
    rows = [r for r in range(len(lengths)) if r != 0]  # all but the full one, in one row
    real = [slice(0, lengths[r]) for r in rows]

    def pack(columns: list[np.ndarray]) -> np.ndarray:
        joined = np.concatenate(columns).astype(np.int32)
        return np.pad(joined, (0, 3))[None]

    packed = {
        n: pack([batch[n][r, s] for r, s in zip(rows, real, strict=True)])
        for n in ("input_ids", "token_type_ids")
    }
    packed["position_ids"] = pack([np.arange(lengths[r]) for r in rows])
    packed["segment_ids"] = pack([np.full(lengths[r], i) for i, r in enumerate(rows, start=1)])
    together = jax.jit(make_apply(deep.cfg, "qa"))(deep.params, packed)
    _, alone = forward(deep.params, batch, cfg=deep.cfg)
    for name in ("start_logits", "end_logits"):
        expected = np.concatenate([alone[name][r, s] for r, s in zip(rows, real, strict=True)])
        assert gap(together[name][0, : len(expected)], expected) <= TOLERANCE, name
