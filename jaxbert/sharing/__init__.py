"""Models for others: the card of a model, the Hub, and programs that run without jaxbert."""
