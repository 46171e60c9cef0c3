"""Losses: pure functions that return sums, never means; and how one is chosen."""
