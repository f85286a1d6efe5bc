"""Uploads to encrypted shards."""
