"""Text to arrays: sources, examples, features, batches."""
