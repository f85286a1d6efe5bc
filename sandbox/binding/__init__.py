"""Syntax to plan: names, lineage and every fact that a policy may judge."""
