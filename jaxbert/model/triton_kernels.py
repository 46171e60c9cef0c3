"""Attention for NVIDIA GPUs, forward and backward, in Triton's language (Tillet et al. 2019).

The tiled algorithm of Dao et al. 2022 with dropout inside, by the hash of model/dropout.py. It is
written here a second time, because Triton compiles its own language alone; a test holds the two
masks equal. No atomics: gradients of queries, and those of keys and values, have a kernel each and
are added up in a fixed order, so equal inputs give equal bits. Imported only where it is used: see
nvidia_attention.py for arguments and layouts.

B batch, T query length, S key length (S = T), N heads, H head size, W the power of 2 from H.
"""

# Triton's language has types of its own.
# mypy: ignore-errors

import triton
import triton.language as tl

MASKED = tl.constexpr(-1e30)  # as in attention.py
OUTSIDE = tl.constexpr(-2e30)  # a key after the row's end: weight 0 beside masked keys, too
LOWEST = tl.constexpr(-3e30)
STRIDE = tl.constexpr(1 << 16)  # dropout.STRIDE
# The rows of `facts`, (B, 8, T); see token_facts.py.
KEY_SEGMENT = tl.constexpr(0)
QUERY_SEGMENT = tl.constexpr(1)
POSITION = tl.constexpr(2)
LOW = tl.constexpr(3)
HIGH = tl.constexpr(4)


@triton.jit
def _mix(x):
    x = x ^ (x >> 16)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15)
    x = x * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def _fact(facts, row: tl.constexpr, tokens, T: tl.constexpr):
    """Of these tokens, uint32; 0 after the row's end."""
    return tl.load(facts + row * T + tokens, mask=tokens < T, other=0).to(tl.uint32, bitcast=True)


@triton.jit
def _query_words(facts, head, queries, T: tl.constexpr):
    """The two words of each query's window at this head: dropout.head_words."""
    low = _mix(_fact(facts, LOW, queries, T) + head * 0xC2B2AE3D)
    high = _mix(_fact(facts, HIGH, queries, T) ^ (head * 0x27D4EB2F))
    return low, high


@triton.jit
def _kept(low, high, query_position, key_position, THRESHOLD: tl.constexpr):
    """dropout.kept, (T, S)."""
    position = query_position[:, None] * STRIDE + key_position[None, :]
    bits = _mix((position * 0x9E3779B1) ^ low[:, None]) + high[:, None]
    bits = bits ^ (bits >> 15)
    bits = bits * 0x2C1B3C6D
    bits = bits ^ (bits >> 12)
    return bits >= THRESHOLD


@triton.jit
def _tile(x, tokens, T: tl.constexpr, stride: tl.constexpr, H: tl.constexpr, W: tl.constexpr):
    """(tokens, W) of one head; zeros outside."""
    lanes = tl.arange(0, W)
    inside = (tokens < T)[:, None] & (lanes < H)[None, :]
    return tl.load(x + tokens[:, None] * stride + lanes[None, :], mask=inside, other=0.0)


@triton.jit
def _store(
    x, value, tokens, T: tl.constexpr, stride: tl.constexpr, H: tl.constexpr, W: tl.constexpr
):
    lanes = tl.arange(0, W)
    inside = (tokens < T)[:, None] & (lanes < H)[None, :]
    tl.store(
        x + tokens[:, None] * stride + lanes[None, :], value.to(x.dtype.element_ty), mask=inside
    )


@triton.jit
def _scores(
    q,
    k,
    query_segment,
    key_segment,
    keys,
    T: tl.constexpr,
    SCALE: tl.constexpr,
    BY_SEGMENT: tl.constexpr,
    DOT: tl.constexpr,
):
    """(T, S) float32; masked keys have MASKED, keys after the end OUTSIDE."""
    scores = tl.dot(q, tl.trans(k), input_precision=DOT) * SCALE
    seen = (key_segment != 0)[None, :]
    if BY_SEGMENT:
        seen = seen & (query_segment[:, None] == key_segment[None, :])
    scores = tl.where(seen, scores, MASKED)
    return tl.where((keys < T)[None, :], scores, OUTSIDE)


@triton.jit
def forward(
    q, k, v, facts, out, largest, norm,
    T: tl.constexpr, N: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, SCALE: tl.constexpr, BY_SEGMENT: tl.constexpr,
    DROP: tl.constexpr, THRESHOLD: tl.constexpr, KEEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head."""
    row, head = tl.program_id(1) // N, tl.program_id(1) % N
    stride: tl.constexpr = N * H
    start = (row.to(tl.int64) * T * N + head) * H
    facts += row * 8 * T
    queries = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    query = _tile(q + start, queries, T, stride, H, W)
    query_segment = _fact(facts, QUERY_SEGMENT, queries, T)
    query_position = _fact(facts, POSITION, queries, T)
    low, high = _query_words(facts, head.to(tl.uint32), queries, T)
    total = tl.zeros((QUERIES, W), tl.float32)
    m = tl.full((QUERIES,), LOWEST, tl.float32)
    n = tl.zeros((QUERIES,), tl.float32)
    for first in range(0, T, KEYS):
        keys = first + tl.arange(0, KEYS)
        key = _tile(k + start, keys, T, stride, H, W)
        key_segment = _fact(facts, KEY_SEGMENT, keys, T)
        scores = _scores(query, key, query_segment, key_segment, keys, T, SCALE, BY_SEGMENT, DOT)
        new = tl.maximum(m, tl.max(scores, 1))
        shrink = tl.exp(m - new)
        weights = tl.exp(scores - new[:, None])
        n = n * shrink + tl.sum(weights, 1)
        if DROP:
            kept = _kept(low, high, query_position, _fact(facts, POSITION, keys, T), THRESHOLD)
            weights = tl.where(kept, weights * KEEP, 0.0)
        value = _tile(v + start, keys, T, stride, H, W)
        total = total * shrink[:, None] + tl.dot(
            weights.to(value.dtype), value, input_precision=DOT
        )
        m = new
    _store(out + start, total / n[:, None], queries, T, stride, H, W)
    at = tl.program_id(1) * T + queries
    tl.store(largest + at, m, mask=queries < T)
    tl.store(norm + at, n, mask=queries < T)


@triton.jit
def backward_queries(
    q, k, v, facts, largest, norm, out, grad, dq, mean,
    T: tl.constexpr, N: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, SCALE: tl.constexpr, BY_SEGMENT: tl.constexpr,
    DROP: tl.constexpr, THRESHOLD: tl.constexpr, KEEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head: dq, and the mean of d weights that backward_keys needs."""
    row, head = tl.program_id(1) // N, tl.program_id(1) % N
    stride: tl.constexpr = N * H
    start = (row.to(tl.int64) * T * N + head) * H
    facts += row * 8 * T
    queries = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    query = _tile(q + start, queries, T, stride, H, W)
    g = _tile(grad + start, queries, T, stride, H, W)
    o = _tile(out + start, queries, T, stride, H, W)
    # The sum of weights * d weights over the keys is that of out * grad over H.
    average = tl.sum(o.to(tl.float32) * g.to(tl.float32), 1)
    query_segment = _fact(facts, QUERY_SEGMENT, queries, T)
    query_position = _fact(facts, POSITION, queries, T)
    low, high = _query_words(facts, head.to(tl.uint32), queries, T)
    at = tl.program_id(1) * T + queries
    tl.store(mean + at, average, mask=queries < T)
    m = tl.load(largest + at, mask=queries < T, other=0.0)
    n = tl.load(norm + at, mask=queries < T, other=1.0)
    total = tl.zeros((QUERIES, W), tl.float32)
    for first in range(0, T, KEYS):
        keys = first + tl.arange(0, KEYS)
        key = _tile(k + start, keys, T, stride, H, W)
        key_segment = _fact(facts, KEY_SEGMENT, keys, T)
        scores = _scores(query, key, query_segment, key_segment, keys, T, SCALE, BY_SEGMENT, DOT)
        weights = tl.exp(scores - m[:, None]) / n[:, None]
        value = _tile(v + start, keys, T, stride, H, W)
        dweights = tl.dot(g, tl.trans(value), input_precision=DOT)
        if DROP:
            kept = _kept(low, high, query_position, _fact(facts, POSITION, keys, T), THRESHOLD)
            dweights = tl.where(kept, dweights * KEEP, 0.0)
        dscores = weights * (dweights - average[:, None])
        total += tl.dot(dscores.to(key.dtype), key, input_precision=DOT)
    _store(dq + start, total * SCALE, queries, T, stride, H, W)


@triton.jit
def backward_keys(
    q, k, v, facts, largest, norm, mean, grad, dk, dv,
    T: tl.constexpr, N: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, SCALE: tl.constexpr, BY_SEGMENT: tl.constexpr,
    DROP: tl.constexpr, THRESHOLD: tl.constexpr, KEEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One block of keys of one head: dk and dv."""
    row, head = tl.program_id(1) // N, tl.program_id(1) % N
    stride: tl.constexpr = N * H
    start = (row.to(tl.int64) * T * N + head) * H
    facts += row * 8 * T
    keys = tl.program_id(0) * KEYS + tl.arange(0, KEYS)
    key = _tile(k + start, keys, T, stride, H, W)
    value = _tile(v + start, keys, T, stride, H, W)
    key_segment = _fact(facts, KEY_SEGMENT, keys, T)
    key_position = _fact(facts, POSITION, keys, T)
    dkey = tl.zeros((KEYS, W), tl.float32)
    dvalue = tl.zeros((KEYS, W), tl.float32)
    for first in range(0, T, QUERIES):
        queries = first + tl.arange(0, QUERIES)
        query = _tile(q + start, queries, T, stride, H, W)
        g = _tile(grad + start, queries, T, stride, H, W)
        query_segment = _fact(facts, QUERY_SEGMENT, queries, T)
        at = tl.program_id(1) * T + queries
        m = tl.load(largest + at, mask=queries < T, other=0.0)
        n = tl.load(norm + at, mask=queries < T, other=1.0)
        average = tl.load(mean + at, mask=queries < T, other=0.0)
        scores = _scores(query, key, query_segment, key_segment, keys, T, SCALE, BY_SEGMENT, DOT)
        weights = tl.exp(scores - m[:, None]) / n[:, None]
        dweights = tl.dot(g, tl.trans(value), input_precision=DOT)
        dropped = weights
        if DROP:
            low, high = _query_words(facts, head.to(tl.uint32), queries, T)
            query_position = _fact(facts, POSITION, queries, T)
            kept = _kept(low, high, query_position, key_position, THRESHOLD)
            dropped = tl.where(kept, weights * KEEP, 0.0)
            dweights = tl.where(kept, dweights * KEEP, 0.0)
        # A query after the row's end has a gradient of zeros and adds nothing.
        dvalue += tl.dot(tl.trans(dropped.to(g.dtype)), g, input_precision=DOT)
        dscores = weights * (dweights - average[:, None])
        dkey += tl.dot(tl.trans(dscores.to(query.dtype)), query, input_precision=DOT)
    _store(dk + start, dkey * SCALE, keys, T, stride, H, W)
    _store(dv + start, dvalue, keys, T, stride, H, W)
