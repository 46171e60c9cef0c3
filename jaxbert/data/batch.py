"""The arrays of a batch, by name: NumPy arrays on the host, JAX arrays on the device."""

from __future__ import annotations

from typing import Generic, TypedDict, TypeVar

A = TypeVar("A")


class Batch(TypedDict, Generic[A], total=False):
    """The arrays that the encoder, losses and tasks read, under Hugging Face's names.

    B windows, T tokens of a row, C classes, K choices of a question or windows of a text, G
    reference answers, P masked positions. Which keys a batch has depends on the task.
    --extra_columns are there too, under their own names: (B,) or (B, n), of words (B, T), int32 or
    float32.

    Without packing a window is a row, R = B. Packed, R rows have K windows each, B = R K.
    """

    # Read by the encoder; (B, T, K) for multiple choice, and where a text has several windows in a
    # row.
    input_ids: A  # (R, T) int32, token ids
    token_type_ids: A  # (R, T) int32, 0 in the first text and 1 in the second
    attention_mask: A  # (B, T) int32, 1 at the window's tokens and 0 at padding
    # Only in packed batches.
    position_ids: A  # (R, T) int32, from 0 in each window
    segment_ids: A  # (R, T) int32, 1 to K, the window of each token; 0 at padding
    segment_starts: A  # (B,) int32, where each window begins in its row
    # Every task.
    weight: A  # (B,) float32, 0 on padding rows and where nothing can be learned; --weight_column
    row: A  # (B,) int32, index of the window, -1 on padding rows; seeds dropout
    # Classes: (B,) int32, -100 where there is none; (B, C) float32 for multi-label texts; (B, T) or
    # (B, P) int32 for words and masked tokens. Regression targets: (B,) float32.
    labels: A
    # Questions. Positions are tokens of the window, 0 ([CLS]) where it does not hold the answer.
    start_positions: A  # (B,) int32
    end_positions: A  # (B,) int32, inclusive
    answer_starts: A  # (B, G) int32, reference answers, -1 where it holds no more
    answer_ends: A  # (B, G) int32
    context_mask: A  # (B, T) bool, True at tokens of the paragraph
    # Masked language modelling.
    word: A  # (B, T) int32, the word of each token, -1 at special ones; removed by masking
    masked_positions: A  # (B, P) int32, the tokens to predict, then 0
    targets: A  # (B, n) int32, tokens whose probability FillMask computes
    # Distillation: the teacher's outputs and its last layer's [CLS] vectors, float32.
    teacher_start_logits: A  # (B, T)
    teacher_end_logits: A  # (B, T)
    teacher_logits: A  # (B, C), (B, T, C) or, for choices, (B, K)
    teacher_scores: A  # (B,)
    teacher_first: A  # (B, D); for choices (B, K D)
    # With --view_column, another text of each row, padded as far as the first.
    view_input_ids: A  # (B, T) int32
    view_token_type_ids: A  # (B, T) int32
    view_attention_mask: A  # (B, T) int32
    # Of classification by soft labels, the probability of each class.
    soft_labels: A  # (B, C) float32
    # Added by a loss or by the training loop.
    word_offsets: A  # (R, T, E) float32, added to the word embeddings
    stop: A  # (B,) int32, above 0 where a process was told to stop
