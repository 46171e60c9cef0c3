"""Files: how they are written, and how those of others are read."""
