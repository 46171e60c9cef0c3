"""Attention for NVIDIA GPUs, forward and backward, in Triton's language (Tillet et al. 2019).

The tiled algorithm of Dao et al. 2022 with dropout inside, by the hash of model/dropout.py. No
atomics: gradients of queries, and those of keys and values, have programs of their own that add up
in a fixed order, so equal inputs give equal bits. Imported only where it is used: see
nvidia_attention.py for arguments and layouts.

B batch, T query length, S key length (S = T), N heads, H head size, W the power of 2 from H.
"""

# Triton's language has types of its own.
# mypy: ignore-errors

import triton
import triton.language as tl

from jaxbert.model.triton_dropout import HIGH, LOW, POSITION, fact, kept, mix

MASKED = tl.constexpr(-1e30)  # as in attention.py
OUTSIDE = tl.constexpr(-2e30)  # a key after the row's end: weight 0 beside masked keys, too
LOWEST = tl.constexpr(-3e30)
# The rows of `facts`, (B, 8, T); see token_facts.py.
KEY_SEGMENT = tl.constexpr(0)
QUERY_SEGMENT = tl.constexpr(1)


@triton.jit
def _query_words(facts, head, queries, T: tl.constexpr):
    """The two words of each query's window at this head: dropout.head_words."""
    low = mix(fact(facts, LOW, queries, T) + head * 0xC2B2AE3D)
    high = mix(fact(facts, HIGH, queries, T) ^ (head * 0x27D4EB2F))
    return low, high


@triton.jit
def _kept(low, high, query_position, key_position, THRESHOLD: tl.constexpr):
    """(T, S), which weights are kept."""
    return kept(
        low[:, None], high[:, None], query_position[:, None], key_position[None, :], THRESHOLD
    )


@triton.jit
def _of_head(facts, program, T: tl.constexpr, N: tl.constexpr, H: tl.constexpr):
    """Of the row and head of a program: the head, its first places in (B, T, N) and in
    (B, T, 3, N, H), and the row's facts."""
    row, head = program // N, program % N
    first = row.to(tl.int64) * T * N
    return head, first + head, (3 * first + head) * H, facts + row * 8 * T


@triton.jit
def _statistics(
    largest, norm, mean, program, place, queries, T: tl.constexpr, N: tl.constexpr
):  # fmt: skip
    """Of each query: its largest score, the sum of its weights, and the mean of their gradients."""
    inside, at = queries < T, program * T + queries
    m = tl.load(largest + at, mask=inside, other=0.0)
    n = tl.load(norm + at, mask=inside, other=1.0)
    return m, n, tl.load(mean + place + queries * N, mask=inside, other=0.0)


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
def _store_sum(dbias, value, slot, H: tl.constexpr, W: tl.constexpr):
    """The sum over tokens of a block's gradients; those outside the row are zeros."""
    lanes = tl.arange(0, W)
    tl.store(dbias + slot * H + lanes, tl.sum(value, 0), mask=lanes < H)


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
    qkv, facts, out, largest, norm,
    T: tl.constexpr, N: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, SCALE: tl.constexpr, BY_SEGMENT: tl.constexpr,
    DROP: tl.constexpr, THRESHOLD: tl.constexpr, KEEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head."""
    stride: tl.constexpr = N * H  # from token to token, of out and grad
    wide: tl.constexpr = 3 * N * H  # of qkv
    head, place, first_of_qkv, facts = _of_head(facts, tl.program_id(1), T, N, H)
    q = qkv + first_of_qkv
    k, v = q + N * H, q + 2 * N * H
    queries = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    query = _tile(q, queries, T, wide, H, W)
    query_segment = fact(facts, QUERY_SEGMENT, queries, T)
    query_position = fact(facts, POSITION, queries, T)
    low, high = _query_words(facts, head.to(tl.uint32), queries, T)
    total = tl.zeros((QUERIES, W), tl.float32)
    m = tl.full((QUERIES,), LOWEST, tl.float32)
    n = tl.zeros((QUERIES,), tl.float32)
    for first in range(0, T, KEYS):
        keys = first + tl.arange(0, KEYS)
        key = _tile(k, keys, T, wide, H, W)
        key_segment = fact(facts, KEY_SEGMENT, keys, T)
        scores = _scores(query, key, query_segment, key_segment, keys, T, SCALE, BY_SEGMENT, DOT)
        new = tl.maximum(m, tl.max(scores, 1))
        shrink = tl.exp(m - new)
        weights = tl.exp(scores - new[:, None])
        n = n * shrink + tl.sum(weights, 1)
        if DROP:
            key_position = fact(facts, POSITION, keys, T)
            keep = _kept(low, high, query_position, key_position, THRESHOLD)
            weights = tl.where(keep, weights * KEEP, 0.0)
        value = _tile(v, keys, T, wide, H, W)
        total = total * shrink[:, None] + tl.dot(
            weights.to(value.dtype), value, input_precision=DOT
        )
        m = new
    _store(out + place * H, total / n[:, None], queries, T, stride, H, W)
    at = tl.program_id(1) * T + queries
    tl.store(largest + at, m, mask=queries < T)
    tl.store(norm + at, n, mask=queries < T)


@triton.jit
def _backward_queries(
    qkv, facts, largest, norm, mean, grad, dqkv, dbias, block, program,
    T: tl.constexpr, N: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, SCALE: tl.constexpr, BY_SEGMENT: tl.constexpr,
    DROP: tl.constexpr, THRESHOLD: tl.constexpr, KEEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head: their part of dqkv, and its sum at `dbias`."""
    stride: tl.constexpr = N * H  # from token to token, of out and grad
    wide: tl.constexpr = 3 * N * H  # of qkv
    head, place, first_of_qkv, facts = _of_head(facts, program, T, N, H)
    q = qkv + first_of_qkv
    k, v = q + N * H, q + 2 * N * H
    queries = block * QUERIES + tl.arange(0, QUERIES)
    query = _tile(q, queries, T, wide, H, W)
    g = _tile(grad + place * H, queries, T, stride, H, W)
    m, n, average = _statistics(largest, norm, mean, program, place, queries, T, N)
    query_segment = fact(facts, QUERY_SEGMENT, queries, T)
    query_position = fact(facts, POSITION, queries, T)
    low, high = _query_words(facts, head.to(tl.uint32), queries, T)
    total = tl.zeros((QUERIES, W), tl.float32)
    for first in range(0, T, KEYS):
        keys = first + tl.arange(0, KEYS)
        key = _tile(k, keys, T, wide, H, W)
        key_segment = fact(facts, KEY_SEGMENT, keys, T)
        scores = _scores(query, key, query_segment, key_segment, keys, T, SCALE, BY_SEGMENT, DOT)
        weights = tl.exp(scores - m[:, None]) / n[:, None]
        value = _tile(v, keys, T, wide, H, W)
        dweights = tl.dot(g, tl.trans(value), input_precision=DOT)
        if DROP:
            key_position = fact(facts, POSITION, keys, T)
            keep = _kept(low, high, query_position, key_position, THRESHOLD)
            dweights = tl.where(keep, dweights * KEEP, 0.0)
        dscores = weights * (dweights - average[:, None])
        total += tl.dot(dscores.to(key.dtype), key, input_precision=DOT)
    dq = dqkv + first_of_qkv
    _store(dq, total * SCALE, queries, T, wide, H, W)
    _store_sum(dbias, total * SCALE, 0, H, W)


@triton.jit
def _backward_keys(
    qkv, facts, largest, norm, mean, grad, dqkv, dbias, block, program,
    T: tl.constexpr, N: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, SCALE: tl.constexpr, BY_SEGMENT: tl.constexpr,
    DROP: tl.constexpr, THRESHOLD: tl.constexpr, KEEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One block of keys of one head: their parts of dqkv, and those of values, and the sums of
    both at `dbias`."""
    stride: tl.constexpr = N * H  # from token to token, of out and grad
    wide: tl.constexpr = 3 * N * H  # of qkv
    head, place, first_of_qkv, facts = _of_head(facts, program, T, N, H)
    q = qkv + first_of_qkv
    k, v = q + N * H, q + 2 * N * H
    keys = block * KEYS + tl.arange(0, KEYS)
    key = _tile(k, keys, T, wide, H, W)
    value = _tile(v, keys, T, wide, H, W)
    key_segment = fact(facts, KEY_SEGMENT, keys, T)
    key_position = fact(facts, POSITION, keys, T)
    dkey = tl.zeros((KEYS, W), tl.float32)
    dvalue = tl.zeros((KEYS, W), tl.float32)
    for first in range(0, T, QUERIES):
        queries = first + tl.arange(0, QUERIES)
        query = _tile(q, queries, T, wide, H, W)
        g = _tile(grad + place * H, queries, T, stride, H, W)
        query_segment = fact(facts, QUERY_SEGMENT, queries, T)
        m, n, average = _statistics(largest, norm, mean, program, place, queries, T, N)
        scores = _scores(query, key, query_segment, key_segment, keys, T, SCALE, BY_SEGMENT, DOT)
        weights = tl.exp(scores - m[:, None]) / n[:, None]
        dweights = tl.dot(g, tl.trans(value), input_precision=DOT)
        dropped = weights
        if DROP:
            low, high = _query_words(facts, head.to(tl.uint32), queries, T)
            query_position = fact(facts, POSITION, queries, T)
            keep = _kept(low, high, query_position, key_position, THRESHOLD)
            dropped = tl.where(keep, weights * KEEP, 0.0)
            dweights = tl.where(keep, dweights * KEEP, 0.0)
        # A query after the row's end has a gradient of zeros and adds nothing.
        dvalue += tl.dot(tl.trans(dropped.to(g.dtype)), g, input_precision=DOT)
        dscores = weights * (dweights - average[:, None])
        dkey += tl.dot(tl.trans(dscores.to(query.dtype)), query, input_precision=DOT)
    dq = dqkv + first_of_qkv
    _store(dq + N * H, dkey * SCALE, keys, T, wide, H, W)
    _store(dq + 2 * N * H, dvalue, keys, T, wide, H, W)
    _store_sum(dbias, dkey * SCALE, 0, H, W)
    _store_sum(dbias, dvalue, 1, H, W)


@triton.jit
def backward(
    qkv, facts, largest, norm, mean, grad, dqkv, dbias,
    T: tl.constexpr, N: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, OTHER_QUERIES: tl.constexpr,
    OTHER_KEYS: tl.constexpr, SCALE: tl.constexpr, BY_SEGMENT: tl.constexpr, DROP: tl.constexpr,
    THRESHOLD: tl.constexpr, KEEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head and their gradients, or one of keys and theirs.

    mean (B, T, N) is that of the gradients of a query's weights, by which it weighs them. dbias
    (B N, blocks of queries + 2 blocks of keys, H) are sums over the tokens of a block.
    """
    blocks: tl.constexpr = (T + QUERIES - 1) // QUERIES
    slots: tl.constexpr = blocks + 2 * ((T + OTHER_KEYS - 1) // OTHER_KEYS)
    block, head = tl.program_id(0), tl.program_id(1)
    dbias += head * slots * H
    if block < blocks:
        _backward_queries(
            qkv, facts, largest, norm, mean, grad, dqkv, dbias + block * H, block, head,
            T, N, H, W, QUERIES, KEYS, SCALE, BY_SEGMENT, DROP, THRESHOLD, KEEP, DOT,
        )  # fmt: skip
    else:
        _backward_keys(
            qkv, facts, largest, norm, mean, grad, dqkv,
            dbias + (2 * block - blocks) * H, block - blocks, head,
            T, N, H, W, OTHER_QUERIES, OTHER_KEYS, SCALE, BY_SEGMENT, DROP, THRESHOLD, KEEP, DOT,
        )  # fmt: skip
