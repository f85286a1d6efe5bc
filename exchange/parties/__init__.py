"""Organisations, their people, and what each person may do."""
