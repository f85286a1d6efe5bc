"""What makes one node of the parts: set-up, supervision, readiness."""
