"""Encrypted Parquet, its keys and its images in memory."""
