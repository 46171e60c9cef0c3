"""One run from end to end: its inputs, its folder, training, evaluation, comparison, scores."""
