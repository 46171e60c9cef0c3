"""LayerNorm of a residual sum for NVIDIA GPUs, forward and backward, in Triton's language.

A program holds whole tokens, so each array is read and written once; the mask of the dropout is the
hash of model/dropout.py and is drawn again in the backward pass. No atomics. Imported only where it
is used: see nvidia_norm.py.

M tokens, T the length of a row, D hidden size, W the power of 2 from D.
"""

# Triton's language has types of its own.
# mypy: ignore-errors

import triton
import triton.language as tl

from jaxbert.model.triton_dropout import HIGH, LOW, POSITION, fact, kept


@triton.jit
def _keep(facts, tokens, lanes, M: tl.constexpr, T: tl.constexpr, THRESHOLD: tl.constexpr):
    """Which elements of these tokens are kept, (tokens, W); those after the last stand for it."""
    tokens = tl.minimum(tokens, M - 1)
    row, place = tokens // T, tokens % T
    facts += row * 8 * T
    low, high = fact(facts, LOW, place, T), fact(facts, HIGH, place, T)
    position = fact(facts, POSITION, place, T)
    second = lanes.to(tl.uint32)[None, :]
    return kept(low[:, None], high[:, None], position[:, None], second, THRESHOLD)


@triton.jit
def _normalized(total, inside, D: tl.constexpr, EPS: tl.constexpr):
    """(total - mean) / deviation, and 1 / deviation, float32."""
    mean = tl.sum(total, 1) / D
    centred = tl.where(inside, total - mean[:, None], 0.0)
    inverse = tl.rsqrt(tl.sum(centred * centred, 1) / D + EPS)
    return centred * inverse[:, None], inverse


@triton.jit
def forward(
    x, branch, added_bias, scale, bias, facts, y, total,
    M: tl.constexpr, T: tl.constexpr, D: tl.constexpr, W: tl.constexpr, TOKENS: tl.constexpr,
    EPS: tl.constexpr, DROP: tl.constexpr, THRESHOLD: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Some tokens: their sums, and these normalized."""
    tokens, lanes = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS), tl.arange(0, W)
    inside = (tokens < M)[:, None] & (lanes < D)[None, :]
    at = tokens.to(tl.int64)[:, None] * D + lanes[None, :]
    offset = tl.load(added_bias + lanes, mask=lanes < D, other=0.0).to(tl.float32)[None, :]
    added = tl.load(branch + at, mask=inside, other=0.0).to(tl.float32) + offset
    if DROP:
        added = tl.where(_keep(facts, tokens, lanes, M, T, THRESHOLD), added * KEEP, 0.0)
    summed = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + added).to(x.dtype.element_ty)
    tl.store(total + at, summed, mask=inside)
    normal, _ = _normalized(summed.to(tl.float32), inside, D, EPS)
    gain = tl.load(scale + lanes, mask=lanes < D, other=0.0)[None, :]
    shift = tl.load(bias + lanes, mask=lanes < D, other=0.0)[None, :]
    tl.store(y + at, (normal * gain + shift).to(y.dtype.element_ty), mask=inside)


@triton.jit
def backward(
    total, grad, scale, facts, dx, dbranch, dadded, dscale, dbias,
    M: tl.constexpr, T: tl.constexpr, D: tl.constexpr, W: tl.constexpr, TOKENS: tl.constexpr,
    STEPS: tl.constexpr, EPS: tl.constexpr, DROP: tl.constexpr, THRESHOLD: tl.constexpr,
    KEEP: tl.constexpr,
):  # fmt: skip
    """STEPS times some tokens; the sums over them of the gradients of scale and both biases."""
    lanes = tl.arange(0, W)
    gain = tl.load(scale + lanes, mask=lanes < D, other=0.0)[None, :]
    by_scale, by_bias = tl.zeros((W,), tl.float32), tl.zeros((W,), tl.float32)
    by_added = tl.zeros((W,), tl.float32)
    for step in range(STEPS):
        tokens = (tl.program_id(0) * STEPS + step) * TOKENS + tl.arange(0, TOKENS)
        inside = (tokens < M)[:, None] & (lanes < D)[None, :]
        at = tokens.to(tl.int64)[:, None] * D + lanes[None, :]
        summed = tl.load(total + at, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        normal, inverse = _normalized(summed, inside, D, EPS)
        by_scale += tl.sum(g * normal, 0)
        by_bias += tl.sum(g, 0)
        g = g * gain
        along = tl.sum(g * normal, 1) / D
        d = (g - (tl.sum(g, 1) / D)[:, None] - normal * along[:, None]) * inverse[:, None]
        tl.store(dx + at, d.to(dx.dtype.element_ty), mask=inside)
        if DROP:
            d = tl.where(_keep(facts, tokens, lanes, M, T, THRESHOLD), d * KEEP, 0.0)
        by_added += tl.sum(d, 0)
        tl.store(dbranch + at, d.to(dx.dtype.element_ty), mask=inside)
    at = tl.program_id(0) * D + lanes
    tl.store(dadded + at, by_added, mask=lanes < D)
    tl.store(dscale + at, by_scale, mask=lanes < D)
    tl.store(dbias + at, by_bias, mask=lanes < D)
