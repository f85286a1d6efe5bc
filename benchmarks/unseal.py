"""Unsealing alone: gigabytes of encrypted shards to plain images in memory, per second.

Yardstick: the cipher alone over as many bytes, in pieces of a page, by as many threads as
there are cores. Both see files that lie in the page cache.

known      the files' digests were checked before
verified   the digest of each file is checked too, as at the first touch
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.options import Options
from benchmarks.report import Report, Row, seconds
from benchmarks.sandbox import CACHE_BYTES, forget, unseal
from benchmarks.tpch_data import Tpch, prepare
from sandbox.files.images import ImageCache
from sandbox.needs import EVERYTHING, Need

_PAGE_BYTES = 1 << 20


def run(options: Options) -> Report:
    """Time unsealing whole tables, and few columns of the largest."""
    report = Report("unseal")
    with options.folder() as folder:
        tpch = prepare(options, folder)
        few = frozenset({"l_shipdate", "l_quantity", "l_extendedprice", "l_discount"})
        cases: dict[str, Mapping[str, Need]] = {
            "all tables, all columns": dict.fromkeys(tpch.tables, EVERYTHING),
            "lineitem, all columns": {"lineitem": EVERYTHING},
            "lineitem, four columns": {"lineitem": Need(few, None)},
        }
        for case, needs in cases.items():
            _measure(report, case, tpch, needs, options.runs)
    return report


def _measure(
    report: Report, case: str, tpch: Tpch, needs: Mapping[str, Need], runs: int
) -> None:
    cache = ImageCache(tpch.vault, CACHE_BYTES)
    with unseal(cache, tpch, needs)[0] as lease:  # touches the files once
        # Blocks and not the length: an image has gaps that take no memory.
        size = sum(os.fstat(image).st_blocks * 512 for image in lease.descriptors)
    verified, known, bare = [], [], []
    for _ in range(runs):
        forget(cache, tpch)
        bare.append(_cipher_alone(size))
        cache = ImageCache(tpch.vault, CACHE_BYTES)
        verified.append(seconds(lambda: unseal(cache, tpch, needs)[0].close()))  # noqa: B023 - called at once
        forget(cache, tpch)
        known.append(seconds(lambda: unseal(cache, tpch, needs)[0].close()))  # noqa: B023 - called at once
    forget(cache, tpch)
    for metric, times in (("known", known), ("verified", verified)):
        rate, yardstick = size / min(times) / 1e9, size / min(bare) / 1e9
        report.rows.append(Row(case, metric, rate, "GB/s", yardstick, target=">= 1"))
    report.note(f"{case}: {size / 1e6:.0f} MB of images; yardstick: the cipher alone.")


def _cipher_alone(size: int) -> float:
    """Seconds of authenticated decryption of about `size` bytes, on every core."""
    cipher, nonce = AESGCM(bytes(32)), bytes(12)
    sealed = cipher.encrypt(nonce, bytes(_PAGE_BYTES), None)
    pages = max(1, size // _PAGE_BYTES)
    targets = [bytearray(_PAGE_BYTES) for _ in range(os.cpu_count() or 1)]

    def work(worker: int) -> None:
        for _ in range(worker, pages, len(targets)):
            cipher.decrypt_into(nonce, sealed, None, targets[worker])

    with ThreadPoolExecutor(len(targets)) as pool:
        return seconds(lambda: list(pool.map(work, range(len(targets)))))
