"""Each optimizer beside the paper's formulas or PyTorch's, and what is put around all of them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import traverse_util
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.optimization import Adafactor

from jaxbert.errors import InputError
from jaxbert.options.fields import settings_of
from jaxbert.options.settings import TrainingOptions
from jaxbert.training.averages import AverageState
from jaxbert.training.choose_optimizer import choose_optimizer, try_optimizer
from jaxbert.training.optim import adamw, is_decayed, make_schedule
from jaxbert.training.optimizers import make_optimizer, rate_factor
from jaxbert.training.update_rules import RULES

pytestmark = pytest.mark.integration  # of the many shapes that are compiled, one operation each

STEPS = 6
SCHEDULE = make_schedule(1e-2, steps=STEPS, warmup_steps=2)
RATES = [float(SCHEDULE(t)) for t in range(STEPS)]
Tree = Any


def parameters(seed: int = 0) -> Tree:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    layer = lambda: {"mlp_in": {"kernel": draw(4, 3), "bias": draw(3)}}  # noqa: E731
    return {
        "bert": {
            "embeddings": {"layer_norm": {"scale": draw(4)}, "words": {"embedding": draw(5, 4)}},
            "layer_0": layer(),
            "layer_1": layer(),
        },
        "pooler": {"kernel": draw(4, 4)},
        "classifier": {"kernel": draw(4, 2), "bias": draw(2)},
    }


def gradients(params: Tree, steps: int = STEPS, seed: int = 1) -> list[Tree]:
    rng = np.random.default_rng(seed)
    draw = lambda x: rng.normal(size=x.shape).astype(np.float32)  # noqa: E731
    return [jax.tree.map(draw, params) for _ in range(steps)]


def train(tx: Any, params: Tree, given: list[Tree]) -> tuple[list[Tree], Any]:
    """The parameters after each step, and the last state."""
    update = optax.with_extra_args_support(tx).update
    state, found = tx.init(jax.tree.map(jnp.asarray, params)), []
    for step, gradient in enumerate(given):
        updates, state = update(gradient, state, params, step=jnp.int32(step))
        params = optax.apply_updates(params, updates)
        found.append(params)
    return found, state


def flat(tree: Tree) -> dict[tuple[str, ...], np.ndarray]:
    return {n: np.asarray(x) for n, x in traverse_util.flatten_dict(tree).items()}


def assert_equal(found: Tree, wanted: Tree) -> None:
    for leaf, x in flat(wanted).items():
        np.testing.assert_array_equal(flat(found)[leaf], x, err_msg=str(leaf))


# --- rules --------------------------------------------------------------------------------------


def lion(theta: Any, g: Any, s: dict[str, Any], t: int, decay: float) -> Any:
    """Algorithm 2 of Chen et al. 2023: minus the step, for a rate of 1."""
    direction = np.sign(0.9 * s["m"] + 0.1 * g)
    s["m"] = 0.999 * s["m"] + 0.001 * g
    return direction + decay * theta


def lamb(theta: Any, g: Any, s: dict[str, Any], t: int, decay: float) -> Any:
    """Algorithm 2 of You et al. 2020, with phi(z) = z."""
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["v"] = 0.999 * s["v"] + 0.001 * g**2
    m, v = s["m"] / (1 - 0.9**t), s["v"] / (1 - 0.999**t)
    direction = m / (np.sqrt(v) + 1e-8) + decay * theta
    return direction * np.linalg.norm(theta) / np.linalg.norm(direction)


def momentum(theta: Any, g: Any, s: dict[str, Any], t: int, decay: float) -> Any:
    s["m"] = 0.9 * s["m"] + g
    return s["m"] + decay * theta


@pytest.mark.parametrize(
    ("name", "args", "formula"),
    [("lion", None, lion), ("lamb", None, lamb), ("sgd", '{"momentum": 0.9}', momentum)],
)
def test_a_rule_is_that_of_its_paper(name: str, args: str | None, formula: Callable) -> None:  # type: ignore[type-arg]
    params = parameters()
    given_gradients = gradients(params)
    rule = choose_optimizer(name, args, weight_decay=0.1).rule
    tx = make_optimizer(rule, SCHEDULE, weight_decay=0.1, clip_norm=None)
    found, _ = train(tx, params, given_gradients)
    for leaf, start in flat(params).items():
        theta, state = start.astype(np.float64), {"m": 0.0, "v": 0.0}
        for t, (gradient, rate) in enumerate(zip(given_gradients, RATES, strict=True), start=1):
            g = flat(gradient)[leaf].astype(np.float64)
            decay = 0.1 if is_decayed(leaf) else 0.0
            theta = theta - rate * formula(theta, g, state, t, decay)
        np.testing.assert_allclose(flat(found[-1])[leaf], theta, rtol=2e-5, atol=2e-6)


def in_torch(make: Callable[[Any], Any], params: Tree, given_gradients: list[Tree]) -> Tree:
    """The same steps by an optimizer of PyTorch."""
    tensors = {n: torch.nn.Parameter(torch.tensor(x)) for n, x in flat(params).items()}
    plain = [x for n, x in tensors.items() if not is_decayed(n)]
    decayed = [x for n, x in tensors.items() if is_decayed(n)]
    optimizer = make(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    )
    for gradient, rate in zip(given_gradients, RATES, strict=True):
        for n, x in tensors.items():
            x.grad = torch.tensor(flat(gradient)[n])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    return traverse_util.unflatten_dict({n: x.detach().numpy() for n, x in tensors.items()})


def big(params: Tree) -> Tree:
    """With a matrix that Adafactor factors."""
    kernel = np.random.default_rng(5).normal(size=(40, 48)).astype(np.float32)
    return {**params, "classifier": {**params["classifier"], "kernel": kernel}}


TORCH: dict[str, tuple[str | None, Callable[[Any], Any]]] = {
    "sgd": (None, lambda groups: torch.optim.SGD(groups, lr=1.0)),
    "adafactor": (
        None,
        lambda groups: Adafactor(groups, lr=1.0, scale_parameter=False, relative_step=False),
    ),
    "adamw": (None, lambda groups: torch.optim.AdamW(groups, lr=1.0)),
}


@pytest.mark.parametrize("name", TORCH)
def test_a_rule_is_that_of_pytorch_and_hugging_face(name: str) -> None:
    params = big(parameters())
    if name == "adafactor":  # theirs factors every matrix, ours those that are worth it
        params = {"classifier": params["classifier"]}
    args, make = TORCH[name]
    rule = choose_optimizer(name, args).rule
    tx = make_optimizer(rule, SCHEDULE, weight_decay=0.1, clip_norm=None)
    given_gradients = gradients(params)
    found, _ = train(tx, params, given_gradients)
    wanted = in_torch(make, params, given_gradients)
    for leaf, x in flat(wanted).items():
        np.testing.assert_allclose(flat(found[-1])[leaf], x, rtol=2e-5, atol=2e-6)


def test_adafactor_keeps_means_of_large_arrays_alone() -> None:
    params = {
        "query": {"kernel": np.ones((64, 4, 32), np.float32), "bias": np.ones((4, 32), np.float32)}
    }
    tx = make_optimizer(RULES["adafactor"], SCHEDULE)
    sizes = sorted(x.size for x in jax.tree.leaves(tx.init(params)))
    assert sizes[-3:] == [4 * 32, 4 * 32, 4 * 64]  # the bias, and of the kernel two means


def test_adamw_is_as_it_was_to_the_bit_and_by_name() -> None:
    params = parameters()
    keywords = {"weight_decay": 0.1, "clip_norm": 1.0}
    for frozen in ((), ("layer_0", "embeddings")):
        before = adamw(SCHEDULE, **keywords, frozen=frozen)  # type: ignore[arg-type]
        now = make_optimizer(RULES["adamw"], SCHEDULE, **keywords, frozen=frozen)  # type: ignore[arg-type]
        (found, state), (wanted, former) = (
            train(tx, params, gradients(params)) for tx in (now, before)
        )
        assert_equal(found[-1], wanted[-1])
        for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(former), strict=True):
            np.testing.assert_array_equal(x, y)


def test_the_flags_defaults_are_those_of_the_rules() -> None:
    flags = {s.name: s.default for s in settings_of(TrainingOptions)}
    names = {"b1": "adam_beta1", "b2": "adam_beta2", "eps": "adam_epsilon"}
    for rule in RULES.values():
        for name, parameter in inspect.signature(rule).parameters.items():
            assert name not in names or parameter.default == flags[names[name]]
    assert flags["optim"] == next(iter(RULES))


@pytest.mark.parametrize("name", RULES)
def test_without_gradients_only_decayed_leaves_shrink(name: str) -> None:
    params = parameters()
    tx = make_optimizer(RULES[name], lambda _: np.float32(0.1), weight_decay=0.5)
    (found, *_), _ = train(tx, params, [jax.tree.map(np.zeros_like, params)])
    for leaf, x in flat(params).items():
        moved = flat(found)[leaf] - x
        if name == "lamb" and is_decayed(leaf):  # its step is as long as the parameters
            np.testing.assert_allclose(moved, -0.1 * x, rtol=1e-5, atol=1e-7)
        else:
            wanted = -0.1 * 0.5 * x * is_decayed(leaf)
            np.testing.assert_allclose(moved, wanted, rtol=1e-5, atol=1e-7)


# --- around any of them -------------------------------------------------------------------------

AROUND = st.sampled_from([*RULES])


@settings(max_examples=5)
@given(name=AROUND, decay=st.floats(0.3, 1), head=st.floats(0, 30), seed=st.integers(0, 99))
def test_layers_have_rates_of_their_own(name: str, decay: float, head: float, seed: int) -> None:
    params = parameters(seed)
    given_gradients = gradients(params, 1, seed)
    plain, _ = train(
        make_optimizer(RULES[name], lambda _: np.float32(0.1)), params, given_gradients
    )
    tx = make_optimizer(RULES[name], lambda _: np.float32(0.1), layer_decay=decay, head_factor=head)
    found, _ = train(tx, params, given_gradients)
    factors = {"embeddings": decay**3, "layer_0": decay**2, "layer_1": decay, "kernel": 1}
    for leaf, x in flat(params).items():
        factor = head if leaf[0] == "classifier" else factors[leaf[1]]
        moved, wanted = flat(found[0])[leaf] - x, factor * (flat(plain[0])[leaf] - x)
        np.testing.assert_allclose(moved, wanted, rtol=1e-4, atol=1e-6)


def test_factors_of_a_model_of_twelve_layers() -> None:
    factors = [rate_factor(("bert", f"layer_{n}"), 12, 0.9, 1.0) for n in range(12)]
    np.testing.assert_allclose(factors, 0.9 ** np.arange(12, 0, -1))


@settings(max_examples=5)
@given(name=AROUND, after=st.integers(1, STEPS - 1))
def test_what_thaws_is_frozen_to_the_bit_and_then_begins(name: str, after: int) -> None:
    params = parameters()
    given_gradients = gradients(params)
    frozen = ("embeddings", "layer_0")
    keywords = {"weight_decay": 0.1, "clip_norm": None}
    tx = make_optimizer(RULES[name], SCHEDULE, frozen=frozen, unfreeze_step=after, **keywords)  # type: ignore[arg-type]
    found, _ = train(tx, params, given_gradients)
    never, _ = train(make_optimizer(RULES[name], SCHEDULE, **keywords), params, given_gradients)  # type: ignore[arg-type]
    late = make_optimizer(RULES[name], lambda t: SCHEDULE(t + after), **keywords)  # type: ignore[arg-type]
    begun, _ = train(late, params, given_gradients[after:])
    for step in range(STEPS):
        wanted = params if step < after else begun[step - after]
        for leaf, x in flat(found[step]).items():
            frozen_leaf = leaf[1] in frozen
            expected = flat(wanted if frozen_leaf else never[step])[leaf]
            np.testing.assert_array_equal(x, expected, err_msg=f"{step} {leaf}")


def test_after_the_thaw_all_gradients_are_clipped_together() -> None:
    params = parameters()
    given_gradients = [jax.tree.map(lambda g: 1e3 * g, g) for g in gradients(params)]
    flat_rate = lambda _: np.float32(1.0)  # noqa: E731
    tx = make_optimizer(RULES["sgd"], flat_rate, frozen=["layer_0"], unfreeze_step=1)
    found, _ = train(tx, params, given_gradients)
    moved = jax.tree.map(lambda x, y: x - y, found[2], found[1])
    assert float(optax.tree.norm(moved)) == pytest.approx(1, rel=1e-4)


@settings(max_examples=5)
@given(name=AROUND, decay=st.sampled_from([0.1, 0.9, 0.999, 0.99999]))
def test_the_moving_average_is_that_of_optax(name: str, decay: float) -> None:
    params = parameters()
    given_gradients = gradients(params)
    tx = make_optimizer(RULES[name], SCHEDULE, ema_decay=decay)
    found, state = train(tx, params, given_gradients)
    plain, _ = train(make_optimizer(RULES[name], SCHEDULE), params, given_gradients)
    assert_equal(found[-1], plain[-1])
    assert isinstance(state, AverageState)
    weights = np.array([decay ** (STEPS - k) for k in range(1, STEPS + 1)])
    for leaf, x in flat(state.average).items():
        values = np.array([flat(each)[leaf] for each in found], np.float64)
        wanted = np.tensordot(weights / weights.sum(), values, 1)
        np.testing.assert_allclose(x, wanted, rtol=1e-5, atol=1e-6)


def test_the_moving_average_without_its_beginning_is_optax_ema() -> None:
    tx = make_optimizer(RULES["adamw"], SCHEDULE, ema_decay=0.9)
    found, state = train(tx, parameters(), gradients(parameters()))
    ema = optax.ema(0.9, debias=True)
    memory = ema.init(parameters())
    for params in found:
        average, memory = ema.update(params, memory)
    for leaf, x in flat(state.average).items():
        np.testing.assert_allclose(x, flat(average)[leaf], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("start", "first"), [(3, 3), (0.5, 4), (0, 1), (1, 1), (6, 6)])
def test_the_mean_is_that_of_pytorch(start: float, first: int) -> None:
    tx = make_optimizer(RULES["adamw"], SCHEDULE, swa_start=start, steps=STEPS)
    found, state = train(tx, parameters(), gradients(parameters()))
    model = torch.nn.ParameterDict()
    leaves = flat(parameters())
    model = torch.nn.ParameterDict(
        {".".join(n).replace(".", "/"): torch.tensor(x) for n, x in leaves.items()}
    )
    averaged = torch.optim.swa_utils.AveragedModel(model)
    for params in found[first - 1 :]:
        for n, x in flat(params).items():
            model["/".join(n)].data = torch.tensor(x)
        averaged.update_parameters(model)
    for n, x in flat(state.average).items():
        wanted = averaged.module["/".join(n)].detach().numpy()
        np.testing.assert_allclose(x, wanted, rtol=1e-5, atol=1e-6)


def test_before_its_first_step_the_mean_is_the_parameters() -> None:
    tx = make_optimizer(RULES["adamw"], SCHEDULE, swa_start=5, steps=STEPS)
    found, state = train(tx, parameters(), gradients(parameters(), 4))
    assert_equal(state.average, found[-1])
    with pytest.raises(InputError, match="--swa_start 7: the run has 6 steps"):
        make_optimizer(RULES["adamw"], SCHEDULE, swa_start=7, steps=STEPS)


# --- a user's -----------------------------------------------------------------------------------

FILE = """
import jax
import jax.numpy as jnp
import optax
from optax import lion as theirs

def signs(learning_rate, power: float = 1.0):
    return optax.chain(optax.scale_by_sign(), optax.scale_by_learning_rate(learning_rate))

def decayed(learning_rate, weight_decay, mask, beta=0.9):
    return optax.lion(learning_rate, b1=beta, weight_decay=weight_decay, mask=mask)

def number(learning_rate):
    return 3

def broken(learning_rate):
    return undefined

def grows(learning_rate):
    return optax.GradientTransformation(lambda p: (), lambda g, s, p=None: (g, (*s, 1)))

def other(learning_rate):
    return optax.GradientTransformation(
        lambda p: (), lambda g, s, p=None: (jax.tree.map(lambda x: x[:1], g), s)
    )

def fails(learning_rate):
    return optax.GradientTransformation(lambda p: (), lambda g, s, p=None: 1 / 0)

def odd(learning_rate):
    return optax.GradientTransformation(
        lambda p: jax.tree_util.Partial(lambda x: x, jnp.ones(3)), lambda g, s, p=None: (g, s)
    )

def nothing():
    return optax.sgd(1.0)
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(FILE, encoding="utf-8")
    return str(path)


def test_a_function_of_a_file_is_an_optimizer(file: str) -> None:
    params = parameters()
    for name, decay in (("signs", 0.0), ("decayed", 0.1), ("theirs", 0.1)):
        chosen = choose_optimizer(f"{file}:{name}", weight_decay=decay)
        tx = make_optimizer(chosen.rule, SCHEDULE, weight_decay=decay, ema_decay=0.9)
        try_optimizer(chosen, tx, params)
        found, _ = train(tx, params, gradients(params))
        assert chosen.recorded()["optim"] == {"source": FILE, "values": {}}
        if name == "theirs":  # optax's own, whose defaults are its own
            wanted = optax.lion(
                SCHEDULE,
                weight_decay=0.1,
                mask=lambda p: jax.tree_util.tree_map_with_path(
                    lambda n, _: is_decayed(tuple(str(k.key) for k in n)), p
                ),
            )
            plain, _ = train(
                optax.chain(optax.clip_by_global_norm(1.0), wanted), params, gradients(params)
            )
            assert_equal(found[-1], plain[-1])


@pytest.mark.parametrize(
    ("given_name", "args", "decay", "message"),
    [
        ("{}:signs", None, 0.1, "--weight_decay 0.1: --optim {}:signs has no weight_decay"),
        ("{}:signs", '{"b": 1}', 0, "--optim_args b: the options of {}:signs are power"),
        ("{}:signs", '{"power": "x"}', 0, "--optim_args power: 'x' is no float"),
        ("{}:none", None, 0, "has no function none; there are signs, decayed, number"),
        ("{}:number", None, 0, "it returned int, not an optax.GradientTransformation"),
        ("{}:broken", None, 0, "{}:17: NameError: name 'undefined' is not defined"),
        ("{}:grows", None, 0, "its state of a step have another form than before it"),
        ("{}:other", None, 0, "its updates of a step have float32[1] at"),
        ("{}:fails", None, 0, "ZeroDivisionError: division by zero"),
        ("{}:odd", None, 0, "its state has a Partial, which a checkpoint cannot hold"),
        ("{}:nothing", None, 0, "it takes no argument; the form is (learning_rate, weight_decay"),
        ("adam", None, 0, "--optim adam: there are adamw, lamb, lion, adafactor, sgd, and FILE"),
        ("sgd", "momentum=0.9", 0, "--optim_args momentum=0.9: not JSON"),
        ("sgd", "[1]", 0, '--optim_args [1]: give an object, as {{"momentum": 0.9}}'),
        ("adamw", '{"b1": 0.8}', 0, "--optim_args b1: the options of adamw are none"),
    ],
)
def test_what_is_no_optimizer_is_told_in_one_line(
    file: str, given_name: str, args: str | None, decay: float, message: str
) -> None:
    def use() -> None:
        chosen = choose_optimizer(given_name.format(file), args, weight_decay=decay)
        tx = make_optimizer(chosen.rule, SCHEDULE, weight_decay=decay)
        try_optimizer(chosen, tx, parameters())

    with pytest.raises(InputError) as caught:
        use()
    assert message.format(file) in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_option_that_an_optimizer_does_not_use_is_refused() -> None:
    with pytest.raises(InputError, match="--adam_epsilon is not for --optim lion"):
        choose_optimizer("lion", **TrainingOptions(adam_epsilon=1e-6).rule())
    rule = choose_optimizer("lion", **TrainingOptions(adam_beta2=0.99).rule()).rule
    assert math.isclose(inspect.signature(rule).parameters["b2"].default, 0.99)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unfreeze_step": 3}, "--unfreeze_step: nothing is frozen; give --freeze too"),
        ({"ema_decay": 0.9, "swa_start": 3}, "one model is saved; give one of them"),
        ({"learning_rate": 0, "head_learning_rate": 1e-3}, "give --freeze bert and its"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingOptions(**options).rule()
