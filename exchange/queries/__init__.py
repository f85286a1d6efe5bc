"""What is run under a grant, and what leaves: queries, runs and releases."""
