"""Settings: all that is known of one stands at its field, and its value is checked by that."""
