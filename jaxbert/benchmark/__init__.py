"""jaxbert beside PyTorch: the same work, alternating, with its spread."""
