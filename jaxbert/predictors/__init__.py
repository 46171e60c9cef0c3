"""What a Python user calls: fine-tuned folders as functions of text."""
