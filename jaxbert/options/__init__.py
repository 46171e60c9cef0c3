"""Settings: one field has its default, help and range."""
