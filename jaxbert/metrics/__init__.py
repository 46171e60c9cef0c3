"""Predictions and references to scores, on the host."""
