"""Text to arrays: sources, tokenizer, features, batches."""
