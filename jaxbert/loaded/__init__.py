"""A model with its tokenizer on its devices, ready to be trained or asked."""
