"""Long work as rows: who does it, until when, and how it ended."""
