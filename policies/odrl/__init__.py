"""Policies as ODRL 2.2 offers, and back (ADR 0011)."""
