"""PyTorch's packed inputs give what its padded batches give."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from jaxbert.benchmark import pytorch
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import init_params

pytestmark = [
    pytest.mark.integration,
    # On a CPU the attention of jagged tensors is computed by the older kind of nested tensors.
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]

torch = pytest.importorskip("torch", reason="the extra `baseline`")

CFG = BertConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=32,
)


def batch_of(lengths: list[int], width: int) -> dict[str, np.ndarray]:
    """Rows of these lengths, and an empty one."""
    rng = np.random.default_rng(0)
    mask = (np.arange(width) < np.array([*lengths, 0])[:, None]).astype(np.int32)
    rows = len(lengths) + 1
    return {
        "input_ids": rng.integers(1, 50, mask.shape, np.int32) * mask,
        "token_type_ids": rng.integers(0, 2, mask.shape, np.int32) * mask,
        "attention_mask": mask,
        "row": np.array([*range(len(lengths)), -1], np.int32),
        "start_positions": np.zeros(rows, np.int32),
        "end_positions": np.ones(rows, np.int32),
    }


@pytest.mark.parametrize("lengths", [[7], [5, 12, 2], [12, 12]])
def test_logits_and_gradients_are_those_of_padded_rows(lengths: list[int]) -> None:
    from jaxbert.benchmark import pytorch_packed

    cfg = dataclasses.replace(CFG, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    params = init_params(cfg, "qa", jax.random.key(0))
    batch = batch_of(lengths, 14)
    packed = pytorch_packed.packed_model(cfg, params)
    padded = pytorch.load_model(cfg, params, "qa")
    answered = packed(**pytorch_packed.packed(batch))
    out = padded(**pytorch.to_torch("qa", batch, labelled=False))
    both = torch.stack([out.start_logits, out.end_logits], -1)[:, : max(lengths)]
    real = torch.isfinite(answered.logits)
    assert real[..., 0].sum(1).tolist() == lengths
    np.testing.assert_allclose(answered.logits[real].detach(), both[real].detach(), atol=2e-6)
    masked = both.masked_fill(~real, float("-inf"))
    starts, ends = torch.zeros(len(lengths)).long(), torch.ones(len(lengths)).long()
    entropy = torch.nn.functional.cross_entropy
    wanted = (entropy(masked[..., 0], starts) + entropy(masked[..., 1], ends)) / 2
    np.testing.assert_allclose(answered.loss.detach(), wanted.detach(), rtol=1e-6)
    answered.loss.backward()
    wanted.backward()
    for (name, ours), (_, theirs) in zip(
        packed.model.named_parameters(), padded.named_parameters(), strict=True
    ):
        if theirs.grad is not None:
            np.testing.assert_allclose(ours.grad, theirs.grad, atol=2e-6, err_msg=name)


def test_it_trains() -> None:
    from jaxbert.benchmark import pytorch_packed

    params = init_params(CFG, "qa", jax.random.key(0))
    batches = [batch_of([9, 3], 9), batch_of([4, 4, 4], 12)]
    run = pytorch_packed.training(CFG, params, batches, precision="float32")
    assert run() > 0
    assert run() > 0
