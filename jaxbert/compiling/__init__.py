"""A training step compiled for devices that need not be here: its memory, traffic and time."""
