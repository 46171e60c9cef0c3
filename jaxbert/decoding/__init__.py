"""Logits to text: spans and answers."""
