"""Fine-tuned folders as a page and an HTTP API (extra `serve`)."""
