"""How a model learns: losses, optimizer, steps, devices, checkpoints, the loop."""
