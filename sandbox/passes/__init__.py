"""Statements over protected rows, read in parts: the seam under stages and history."""
