"""Policies: what a purpose may learn from data. Plain functions over frozen values."""
