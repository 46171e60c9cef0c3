"""GELU of a product and its bias for NVIDIA GPUs, forward and backward, in Triton's language.

The backward pass gives the GELU again, which then need not be kept, and adds up the gradient of the
bias while it writes that of the product. No atomics. Imported only where it is used: see
nvidia_mlp.py.

M tokens, F the width.
"""

# Triton's language has types of its own.
# mypy: ignore-errors

import triton
import triton.language as tl

ROOT_HALF = tl.constexpr(0.7071067811865476)  # of 1 / 2
DENSITY = tl.constexpr(0.3989422804014327)  # 1 / sqrt(2 pi)


@triton.jit
def _tile(step, M: tl.constexpr, F: tl.constexpr, TOKENS: tl.constexpr, LANES: tl.constexpr):
    """Where a tile's elements are, and which of them there are."""
    tokens = step * TOKENS + tl.arange(0, TOKENS)
    lanes = tl.program_id(1) * LANES + tl.arange(0, LANES)
    inside = (tokens < M)[:, None] & (lanes < F)[None, :]
    return tokens.to(tl.int64)[:, None] * F + lanes[None, :], inside


@triton.jit
def _bias(bias, F: tl.constexpr, LANES: tl.constexpr):
    lanes = tl.program_id(1) * LANES + tl.arange(0, LANES)
    return tl.load(bias + lanes, mask=lanes < F, other=0.0).to(tl.float32)[None, :]


@triton.jit
def forward(
    product, bias, y,
    M: tl.constexpr, F: tl.constexpr, TOKENS: tl.constexpr, STEPS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """GELU(product + bias) of STEPS times some tokens."""
    shift = _bias(bias, F, LANES)
    for step in range(STEPS):
        at, inside = _tile(tl.program_id(0) * STEPS + step, M, F, TOKENS, LANES)
        h = tl.load(product + at, mask=inside, other=0.0).to(tl.float32) + shift
        gelu = 0.5 * h * (1.0 + tl.erf(h * ROOT_HALF))
        tl.store(y + at, gelu.to(y.dtype.element_ty), mask=inside)


@triton.jit
def backward(
    product, bias, grad, y, dproduct, dbias,
    M: tl.constexpr, F: tl.constexpr, TOKENS: tl.constexpr, STEPS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """The GELU again, the gradient of the product, and its sums over the program's tokens."""
    shift = _bias(bias, F, LANES)
    by_bias = tl.zeros((LANES,), tl.float32)
    for step in range(STEPS):
        at, inside = _tile(tl.program_id(0) * STEPS + step, M, F, TOKENS, LANES)
        h = tl.load(product + at, mask=inside, other=0.0).to(tl.float32) + shift
        g = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        below = 0.5 * (1.0 + tl.erf(h * ROOT_HALF))
        tl.store(y + at, (h * below).to(y.dtype.element_ty), mask=inside)
        d = g * (below + h * DENSITY * tl.exp(-0.5 * h * h))
        by_bias += tl.sum(d, 0)
        tl.store(dproduct + at, d.to(dproduct.dtype.element_ty), mask=inside)
    lanes = tl.program_id(1) * LANES + tl.arange(0, LANES)
    tl.store(dbias + tl.program_id(0) * F + lanes, by_bias, mask=lanes < F)
