"""A new answer beside earlier ones."""
