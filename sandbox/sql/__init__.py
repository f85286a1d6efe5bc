"""SQL text to our own syntax nodes."""
