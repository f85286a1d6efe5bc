"""A transparency log and its verification (RFC 6962, C2SP). An auditor runs it alone."""
