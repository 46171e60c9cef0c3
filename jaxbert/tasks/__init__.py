"""The tasks: one record each, in a file of its own."""
