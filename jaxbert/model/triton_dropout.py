"""Dropout's hash in Triton's language, for kernels.

It is written here a second time, because Triton compiles its own language alone; a test holds the
masks of model/dropout.py and of the kernels equal.

T the length of a row.
"""

# Triton's language has types of its own.
# mypy: ignore-errors

import triton
import triton.language as tl

STRIDE = tl.constexpr(1 << 16)  # dropout.STRIDE
# The rows of `facts`, (B, 8, T); see token_facts.py.
POSITION = tl.constexpr(2)
LOW = tl.constexpr(3)
HIGH = tl.constexpr(4)


@triton.jit
def mix(x):
    """dropout._mix."""
    x = x ^ (x >> 16)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15)
    x = x * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def fact(facts, row: tl.constexpr, tokens, T: tl.constexpr):
    """Of these tokens, uint32; 0 after the row's end."""
    return tl.load(facts + row * T + tokens, mask=tokens < T, other=0).to(tl.uint32, bitcast=True)


@triton.jit
def kept(low, high, first, second, THRESHOLD: tl.constexpr):
    """dropout.kept of the elements at (first, second); the shapes are broadcast."""
    bits = mix(((first * STRIDE + second) * 0x9E3779B1) ^ low) + high
    bits = bits ^ (bits >> 15)
    bits = bits * 0x2C1B3C6D
    bits = bits ^ (bits >> 12)
    return bits >= THRESHOLD
