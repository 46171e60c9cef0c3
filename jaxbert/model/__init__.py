"""Arrays to logits: the BERT encoder, its heads, and pre-trained weights in and out."""
