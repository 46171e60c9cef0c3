"""Where the time of a step goes."""

from __future__ import annotations

import jax
import pytest
from conftest import TINY

from jaxbert.benchmark import ours, profiling
from jaxbert.benchmark.synthetic import full_batch
from jaxbert.model.heads import init_params

pytestmark = pytest.mark.integration


def test_operations_are_told_apart_by_the_part_of_the_model() -> None:
    step = "jit(train_step)"
    layer = f"{step}/transpose(jvp(BertWithHead))/bert/layer_3"
    assert profiling.part_of(f"{layer}/attention/query/dot_general") == "dense products"
    assert profiling.part_of(f"{layer}/attention/BNTS,BNSH->BNTH/dot_general") == (
        "attention products"
    )
    assert profiling.part_of(f"{layer}/attention/exp") == "softmax, attention dropout"
    assert profiling.part_of(f"{layer}/attention_norm/sub") == "LayerNorm"
    assert profiling.part_of(f"{layer}/erfc").startswith("GELU")
    assert profiling.part_of(f"{step}/sqrt") == "optimizer"
    program = f"""
%fused (a: f32[2]) -> f32[2] {{
  %a = f32[2]{{0}} parameter(0)
  %exp.1 = f32[2]{{0}} exponential(%a), metadata={{op_name="{layer}/attention/exp"}}
  ROOT %dot.1 = f32[2]{{0}} dot(%exp.1), metadata={{op_name="{layer}/mlp_in/dot_general"}}
}}

ENTRY %main (p: f32[2]) -> f32[2] {{
  ROOT %fusion.7 = f32[2]{{0}} fusion(%p), kind=kCustom, calls=%fused
}}
"""
    assert profiling.parts_of(program)["fusion.7"] == "dense products"


def test_a_step_is_profiled() -> None:
    params = jax.device_get(init_params(TINY, "qa", jax.random.key(0)))
    batches = [full_batch(TINY.vocab_size, 4, 16)]
    made = ours.prepare(TINY, params, batches, precision="float32")
    found = profiling.profile(made, steps=2)
    named = [part for part, seconds in found.parts.items() if seconds > 0]
    assert {"dense products", "attention products", "LayerNorm", "optimizer"} <= set(named)
    assert 0 < found.step < 10
