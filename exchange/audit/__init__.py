"""The audit log: what happened, in the order it was sealed."""
