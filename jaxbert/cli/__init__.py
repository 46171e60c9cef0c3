"""Command lines: flags from settings, Hugging Face's flags, messages."""
