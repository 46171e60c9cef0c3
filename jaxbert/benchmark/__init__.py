"""jaxbert beside PyTorch: the same work, in turns, with its spread."""
