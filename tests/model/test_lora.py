"""Low-rank changes: the same model merged, in every family, way of computing and gradient."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.errors import InputError
from jaxbert.model import encoder
from jaxbert.model.config import BertConfig, config_from_dict
from jaxbert.model.dense import Dense, joint
from jaxbert.model.dropout import dropout, keep_mask, row_seeds
from jaxbert.model.families import FAMILIES
from jaxbert.model.heads import Params, init_params, make_apply
from jaxbert.model.lora import LORA, Lora, adapted, changes, draw_lora, merged

TINY = {
    "vocab_size": 40,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
SCALE = 1.5
BATCH = {
    "input_ids": np.random.default_rng(0).integers(2, 40, (3, 9)),
    "attention_mask": np.arange(9) < np.array([[9], [4], [7]]),
}


def config_of(family: str) -> BertConfig:
    names, small = FAMILIES[family].fields, {"num_hidden_groups": 1, "embedding_size": 8}
    raw = {
        theirs: ({**TINY, **small}[ours])
        for ours, theirs in names.items()
        if ours in {**TINY, **small}
    }
    return config_from_dict({"model_type": family, **raw, "id2label": {0: "a", 1: "b"}}, family)


def params_of(cfg: BertConfig, lora: Lora, head: str = "classification") -> Params:
    """Random parameters, with changes that are not 0."""
    rng = np.random.default_rng(0)

    def drawn(x: Any) -> np.ndarray:
        return rng.normal(0, 0.2, x.shape).astype(np.float32)

    key = jax.random.key(0)
    params = jax.eval_shape(lambda: init_params(cfg, head, key))
    change = jax.eval_shape(lambda: draw_lora(lora, cfg, head, key))
    return jax.tree.map(drawn, {**params, LORA: change})


def all_targets(family: str) -> list[str]:
    return [name for ours, name in FAMILIES[family].modules.items() if not ours.endswith("norm")]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_change_beside_a_kernel_equals_one_in_it(family: str) -> None:
    cfg, lora = config_of(family), Lora(3, 3 * SCALE, all_targets(family))
    params = params_of(cfg, lora)
    plain = jax.jit(apply := make_apply(cfg, "classification"))
    beside = jax.jit(adapted(apply, lora.scale))(params, BATCH)["logits"]
    inside = plain(merged(params, lora.scale), BATCH)["logits"]
    without = plain({name: x for name, x in params.items() if name != LORA}, BATCH)["logits"]
    np.testing.assert_allclose(beside, inside, atol=1e-5)
    assert np.abs(beside - without).max() > 1e-3
    assert len(changes(params)) == 6 * cfg.different_layers


@pytest.mark.parametrize("how", [{"scan": True}, {"scan": True, "remat": True}])
def test_it_is_the_same_in_a_loop_and_when_recomputed(how: dict[str, bool]) -> None:
    cfg, lora = config_of("bert"), Lora(3, 6.0, ["query", "output.dense"])
    params = params_of(cfg, lora)

    def total(params: Params, **more: bool) -> Any:
        return adapted(make_apply(cfg, "classification", **more), lora.scale)(params, BATCH)[
            "logits"
        ].sum()

    wanted, found = (
        jax.jit(jax.grad(functools.partial(total, **more)))(params) for more in ({}, how)
    )
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_through_the_merged_kernel() -> None:
    """dA = scale dW B^T and dB = scale A^T dW, of the gradient of the whole matrix."""
    cfg, lora = config_of("bert"), Lora(2, 2 * SCALE, ["key", "attention.output.dense"])
    params, plain = params_of(cfg, lora), make_apply(cfg, "classification")

    def loss(apply: Any, params: Params) -> Any:
        return jnp.sum(apply(params, BATCH)["logits"] ** 2)

    found = changes(jax.jit(jax.grad(lambda p: loss(adapted(plain, lora.scale), p)))(params))
    of_whole = jax.jit(jax.grad(lambda p: loss(plain, p)))(merged(params, lora.scale))
    for path, (a, b) in changes(params).items():
        kernel: Any = of_whole
        for name in (*path, "kernel"):
            kernel = kernel[name]
        kernel = np.asarray(kernel).reshape(a.shape[0], b.shape[1])
        np.testing.assert_allclose(
            found[path][0], SCALE * kernel @ np.asarray(b).T, rtol=1e-3, atol=1e-4
        )
        np.testing.assert_allclose(
            found[path][1], SCALE * np.asarray(a).T @ kernel, rtol=1e-3, atol=1e-4
        )


def test_kernels_of_one_product_take_the_changes_that_there_are() -> None:
    """Queries, keys and values from one array, as Triton's attention reads them."""
    cfg = config_of("bert")
    rng = np.random.default_rng(0)
    drops: list[Any] = [None, None, None]

    class Both(nn.Module):
        one: bool

        @nn.compact
        def __call__(self, x: Any) -> Any:
            parts = [Dense(cfg, (3, 4), jnp.float32, name=n) for n in ("query", "key", "value")]
            if self.one:
                return joint(parts, x, drops)[0][0]
            return jnp.stack([p(x, drop) for p, drop in zip(parts, drops, strict=True)], 2)

    x = rng.normal(size=(2, 5, 12)).astype(np.float32)
    params = jax.tree.map(np.asarray, Both(False).init(jax.random.key(0), jnp.asarray(x))["params"])
    params["value"] |= {
        "lora_a": rng.normal(size=(12, 2)).astype(np.float32),
        "lora_b": rng.normal(size=(2, 12)).astype(np.float32),
    }
    one, each = (Both(one).apply({"params": params}, jnp.asarray(x)) for one in (True, False))
    np.testing.assert_allclose(one, each, rtol=1e-5, atol=1e-6)
    params["query"] |= {name: params["value"][name] + 1 for name in ("lora_a", "lora_b")}
    seeds = row_seeds(jax.random.key(0), np.arange(2))
    masks = [functools.partial(dropout, rate=0.5, seeds=seeds, site=n) for n in range(3)]
    drops[:] = masks
    one, each = (Both(one).apply({"params": params}, jnp.asarray(x)) for one in (True, False))
    np.testing.assert_allclose(one, each, rtol=1e-4, atol=1e-5)


# --- dropout ----------------------------------------------------------------------------------


def trained(cfg: BertConfig, lora: Lora, rate: float, **more: Any) -> Any:
    """(params, batch, key) -> logits, as a training computes them."""
    apply = adapted(make_apply(cfg, "classification", lora_dropout=rate, **more), lora.scale)
    return jax.jit(lambda params, batch, key: apply(params, batch, key=key, train=True)["logits"])


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_dropout_is_of_what_a_change_reads_alone(rate: float) -> None:
    """y = x W + b + (mask x / (1 - rate)) A B, by the masks of the model's other dropouts."""
    cfg, rng = config_of("bert"), np.random.default_rng(0)
    x = rng.normal(size=(3, 5, 12)).astype(np.float32)
    layer = Dense(cfg, (7,), jnp.float32)
    params: Any = {"kernel": rng.normal(size=(12, 7)), "bias": rng.normal(size=7)}
    params |= {"lora_a": rng.normal(size=(12, 2)), "lora_b": rng.normal(size=(2, 7))}
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    seeds = row_seeds(jax.random.key(3), np.array([4, 0, 9]))
    drop = functools.partial(dropout, rate=rate, seeds=seeds, site=40)
    found = layer.apply({"params": params}, jnp.asarray(x), drop)
    kept = np.asarray(keep_mask(seeds, 40, x.shape, rate))
    thin = np.where(kept, x / (1 - rate), 0) @ params["lora_a"] @ params["lora_b"]
    np.testing.assert_allclose(found, x @ params["kernel"] + params["bias"] + thin, atol=1e-5)
    without = layer.apply({"params": params}, jnp.asarray(x))
    assert np.array_equal(found, without) == (rate == 0)
    of_kernel = {"params": {n: params[n] for n in ("kernel", "bias")}}  # without a change
    plain = [layer.apply(of_kernel, jnp.asarray(x), *more) for more in ((drop,), ())]
    np.testing.assert_array_equal(*plain)


def test_the_mean_over_masks_is_the_change_without_dropout() -> None:
    rng = np.random.default_rng(0)
    x = jnp.broadcast_to(jnp.asarray(rng.normal(size=12), jnp.float32), (4000, 1, 12))
    seeds = row_seeds(jax.random.key(0), np.arange(4000))
    params: Any = {"kernel": jnp.zeros((12, 3)), "bias": jnp.zeros(3)}
    params |= {"lora_a": jnp.eye(12)[:, :3], "lora_b": jnp.eye(3)}
    layer = Dense(config_of("bert"), (3,), jnp.float32)
    drop = functools.partial(dropout, rate=0.3, seeds=seeds, site=9)
    y = np.asarray(layer.apply({"params": params}, x, drop))[:, 0]
    first = np.asarray(x)[0, 0, :3]
    error = np.abs(y.mean(0) - first) / (np.abs(first) * (0.3 / 0.7 / 4000) ** 0.5)
    assert error.max() < 4  # standard deviations


@pytest.mark.parametrize("family", ["bert", "albert", "distilbert"])
def test_every_change_has_masks_of_its_own(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six of a layer, also where layers share their matrices, and none is another dropout's."""
    cfg, lora = config_of(family), Lora(2, 2.0, all_targets(family))
    cfg = dataclasses.replace(cfg, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    sites: dict[float, list[int]] = {}
    plain = encoder.dropout

    def noted(x: Any, rate: float, seeds: Any, site: Any) -> Any:
        sites.setdefault(rate, []).append(int(site))
        return plain(x, rate, seeds, site)

    monkeypatch.setattr(encoder, "dropout", noted)
    apply = adapted(make_apply(cfg, "classification", lora_dropout=0.5), lora.scale)
    params, key = params_of(cfg, lora), jax.random.key(0)
    jax.eval_shape(lambda params: apply(params, BATCH, key=key, train=True), params)
    layers = cfg.num_hidden_layers
    first = 1 + 3 * layers + 2  # behind the layers' three and the head's two
    assert sorted(sites[0.5]) == list(range(first, first + 6 * layers))
    jax.eval_shape(lambda params: apply(params, BATCH), params)
    assert len(sites[0.5]) == 6 * layers  # none of an evaluation


def test_without_a_rate_nothing_changes_to_the_bit() -> None:
    cfg, lora = config_of("bert"), Lora(2, 2.0, all_targets("bert"))
    cfg = dataclasses.replace(cfg, hidden_dropout_prob=0.1)
    params, key = params_of(cfg, lora), jax.random.key(1)

    def of_rate(rate: float) -> Any:
        return adapted(make_apply(cfg, "classification", lora_dropout=rate), lora.scale)

    apply = adapted(make_apply(cfg, "classification"), lora.scale)
    lowered = [
        jax.jit(lambda p, f=f: f(p, BATCH, key=key, train=True)["logits"]).lower(params).as_text()
        for f in (apply, *(of_rate(rate) for rate in (0.0, 0.5)))
    ]
    assert lowered[0] == lowered[1] != lowered[2]  # the same program


def test_masks_are_the_same_in_a_loop_and_when_recomputed() -> None:
    cfg, lora = config_of("albert"), Lora(2, 2.0, all_targets("albert"))
    params, key = params_of(cfg, lora), jax.random.key(1)
    wanted = trained(cfg, lora, 0.4)(params, BATCH, key)
    looped = trained(cfg, lora, 0.4, scan=True, remat=True)
    np.testing.assert_allclose(looped(params, BATCH, key), wanted, atol=1e-5)


def test_a_windows_masks_depend_on_its_number_alone() -> None:
    """In any order of rows, with any padding, alone, and packed with others in a row."""
    cfg, lora = config_of("bert"), Lora(2, 2.0, all_targets("bert"))
    params, key, run = params_of(cfg, lora), jax.random.key(1), trained(cfg, lora, 0.4)
    mask = np.asarray(BATCH["attention_mask"])
    batch = {**BATCH, "row": np.array([5, 2, 8])}
    wanted = run(params, batch, key)
    turned = run(params, {n: x[[2, 0, 1]] for n, x in batch.items()}, key)
    np.testing.assert_allclose(turned, wanted[jnp.array([2, 0, 1])], atol=1e-5)
    alone = run(params, {n: x[1:2, :4] if x.ndim == 2 else x[1:2] for n, x in batch.items()}, key)
    np.testing.assert_allclose(alone[0], wanted[1], atol=1e-5)
    # Windows 1 and 2 in one row, 0 in another.
    ids, lengths = np.asarray(BATCH["input_ids"]), mask.sum(1)
    rows = [[1, 2], [0]]
    packed: dict[str, Any] = {n: np.zeros((2, 11), np.int32) for n in ("input_ids", "segment_ids")}
    packed |= {"position_ids": np.zeros((2, 11), np.int32)}
    starts = np.zeros((2, 2), np.int32)
    numbers = np.zeros((2, 2), np.int64)
    for r, windows in enumerate(rows):
        at = 0
        for slot, w in enumerate(windows):
            here = slice(at, at + lengths[w])
            packed["input_ids"][r, here] = ids[w, : lengths[w]]
            packed["segment_ids"][r, here] = slot + 1
            packed["position_ids"][r, here] = np.arange(lengths[w])
            starts[r, slot], numbers[r, slot] = at, batch["row"][w]
            at += lengths[w]
    packed |= {"segment_starts": starts.reshape(-1), "row": numbers.reshape(-1)}
    found = run(params, packed, key)
    for place, w in ((0, 1), (1, 2), (2, 0)):
        np.testing.assert_allclose(found[place], wanted[w], atol=1e-5)


def test_it_starts_as_pefts_does_and_changes_nothing() -> None:
    cfg = dataclasses.replace(config_of("bert"), hidden_size=48, intermediate_size=96)
    lora = Lora(16, 8, ["query", "output.dense"])
    drawn = jax.jit(lambda key: draw_lora(lora, cfg, "qa", key))(jax.random.key(0))
    params = {**params_of(cfg, lora, "qa"), LORA: drawn}
    plain = make_apply(cfg, "qa")
    ours, base = (jax.jit(f)(params, BATCH) for f in (adapted(plain, lora.scale), plain))
    np.testing.assert_array_equal(ours["start_logits"], base["start_logits"])
    for path, (a, b) in changes(params).items():
        inputs = 96 if path[-1] == "mlp_out" else 48
        bound = inputs**-0.5  # kaiming_uniform_(a=sqrt(5)) of torch.nn.init
        assert a.shape == (inputs, 16)
        assert b.shape == (16, 48)
        assert not b.any()
        assert 0.97 * bound < np.abs(a).max() <= bound
        assert np.std(a) == pytest.approx(bound / 3**0.5, rel=0.06)
    firsts = {float(a[0, 0]) for a, _ in changes(params).values()}
    assert len(firsts) == len(changes(params)) == 6


@settings(max_examples=40, deadline=None)
@given(family=st.sampled_from(sorted(FAMILIES)), data=st.data())
def test_targets_are_ends_of_names_as_pefts(family: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(all_targets(family)))
    parts = name.split(".")
    target = ".".join(parts[data.draw(st.integers(0, len(parts) - 1)) :])
    found = Lora(1, 1, [target]).modules(FAMILIES[family])
    wanted = {m for m in all_targets(family) if f".{m}".endswith(f".{target}")}
    assert set(found.values()) == wanted
    assert name in wanted


def test_queries_and_values_are_the_default() -> None:
    for family in FAMILIES.values():
        assert [*Lora(1, 1).modules(family)] == ["attention/query", "attention/value"]
    names = Lora(1, 1).modules(FAMILIES["distilbert"]).values()
    assert [*names] == ["attention.q_lin", "attention.v_lin"]


@pytest.mark.parametrize("target", ["nope", "uery", "LayerNorm", "layer.0", "", "attention"])
def test_a_target_that_is_no_matrix_is_refused(target: str) -> None:
    with pytest.raises(InputError) as caught:
        Lora(1, 1, ["query", target]).modules(FAMILIES["bert"])
    assert str(caught.value) == (
        f"--lora_targets {target}: no matrix of a layer has a name that ends so; there are "
        "attention.self.query, attention.self.key, attention.self.value, attention.output.dense, "
        "intermediate.dense, output.dense"
    )
