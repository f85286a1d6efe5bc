"""What one run under a grant may use, and what its runs have used, as the API says it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class LimitsShown(serializers.Serializer[Any]):
    """What one run may use before it is stopped. Nothing is spilt to the disk."""

    seconds = serializers.IntegerField()
    memory_mb = serializers.IntegerField()
    output_mb = serializers.IntegerField(help_text="of the result")


class NewLimits(serializers.Serializer[Any]):
    """The limits of one run; null or absent is the node's default."""

    seconds = serializers.IntegerField(required=False, default=None, allow_null=True)
    memory_mb = serializers.IntegerField(required=False, default=None, allow_null=True)
    output_mb = serializers.IntegerField(required=False, default=None, allow_null=True)


class UsedShown(serializers.Serializer[Any]):
    """What the runs under a grant have used."""

    runs = serializers.IntegerField(help_text="that ended in a release")
    failed_runs = serializers.IntegerField(help_text="that used something and failed")
    cpu_seconds = serializers.FloatField()
    peak_memory_bytes = serializers.IntegerField()
    bytes_scanned = serializers.IntegerField()
