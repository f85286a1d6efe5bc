"""The life of a dataset version, and the moves that are legal."""

from __future__ import annotations

from django.db import models


class VersionState(models.TextChoices):
    """Where a dataset version stands; rows of a `published` one never change again."""

    UPLOADING = "uploading", "uploading"
    PROFILING = "profiling", "profiling"
    PROFILED = "profiled", "profiled"
    PARTITIONING = "partitioning", "partitioning"
    READY = "ready", "ready"
    PUBLISHED = "published", "published"
    WITHDRAWN = "withdrawn", "withdrawn"
    FAILED = "failed", "failed"


S = VersionState

VERSION_MOVES: dict[str, frozenset[str]] = {
    S.UPLOADING: frozenset({S.PROFILING, S.FAILED}),
    S.PROFILING: frozenset({S.PROFILED, S.FAILED}),
    S.PROFILED: frozenset({S.PARTITIONING, S.WITHDRAWN}),
    S.PARTITIONING: frozenset({S.READY, S.FAILED}),
    S.READY: frozenset({S.PUBLISHED, S.WITHDRAWN}),
    S.PUBLISHED: frozenset({S.WITHDRAWN}),
    S.WITHDRAWN: frozenset(),
    # A failed stage may be tried again with the same bytes, or the version given up.
    S.FAILED: frozenset({S.PROFILING, S.PARTITIONING, S.WITHDRAWN}),
}
