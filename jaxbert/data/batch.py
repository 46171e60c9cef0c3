"""The arrays of a batch, by name: numpy's on the host, JAX's on the device."""

from __future__ import annotations

from typing import Generic, TypedDict, TypeVar

A = TypeVar("A")


class Batch(TypedDict, Generic[A], total=False):
    """What the encoder, the losses and the tasks' reductions read, under Hugging Face's names.

    B windows, T tokens of a row, C classes, K choices of a question, G reference answers, P masked
    positions. Each task has the keys that its examples give.

    Without packing a window is a row, R = B. Packed, R rows have K windows each, B = R K.
    """

    # What the encoder reads; of multiple choice (B, T, K).
    input_ids: A  # (R, T) int32, tokens
    token_type_ids: A  # (R, T) int32, 0 in the first text and 1 in the second
    attention_mask: A  # (B, T) int32, 1 at the window's tokens and 0 at padding
    # Of packed rows alone.
    position_ids: A  # (R, T) int32, from 0 in each window
    segment_ids: A  # (R, T) int32, 1 to K, the window of each token; 0 at padding
    segment_starts: A  # (B,) int32, where in its row each window begins
    # Of every task.
    weight: A  # (B,) float32, 0 on padding rows and where nothing can be learned
    row: A  # (B,) int32, the number of the window, -1 on padding rows; dropout is drawn by it
    # Classes: (B,) int32, -100 where there is none; of any number of classes a text (B, C) float32;
    # of words and masked tokens (B, T) or (B, P) int32. Targets of regression: (B,) float32.
    labels: A
    # Questions. Positions are tokens of the window, 0 ([CLS]) where it does not hold the answer.
    start_positions: A  # (B,) int32
    end_positions: A  # (B,) int32, inclusive
    answer_starts: A  # (B, G) int32, all reference answers, -1 where the window has no more
    answer_ends: A  # (B, G) int32
    context_mask: A  # (B, T) bool, True at tokens of the paragraph
    # Masked language modelling.
    word: A  # (B, T) int32, the word of each token, -1 at special ones; before tokens are masked
    masked_positions: A  # (B, P) int32, the tokens to predict, then 0
    targets: A  # (B, n) int32, tokens of which FillMask asks the probability
    # Distillation: the teacher's outputs, and the [CLS] vectors of its last layer, float32.
    teacher_start_logits: A  # (B, T)
    teacher_end_logits: A  # (B, T)
    teacher_logits: A  # (B, C), (B, T, C) or, of choices, (B, K)
    teacher_scores: A  # (B,)
    teacher_first: A  # (B, D); of choices (B, K D)
    # Put in by a loss or by the loop.
    word_offsets: A  # (R, T, D) float32, added to the word embeddings
    stop: A  # (B,) int32, above 0 where a process was told to stop
