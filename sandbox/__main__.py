"""`python -m sandbox --socket S --vault DIR`: the sandbox daemon, and its two children.

The children's roles are started by the daemon only: `--role unsealer DOOR FORKS VAULT
CACHE_BYTES JOB_BYTES` and `--role forkserver DOOR UNSEALER WORKERS ANALYSERS`, the first
two of each being the numbers of inherited sockets.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.processes import lockdown, memory, users


def main(arguments: list[str]) -> int:
    """Run the daemon or one of its children; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--socket", type=Path, help="where clients connect")
    parser.add_argument("--vault", type=Path, help="root of the stored files")
    parser.add_argument("--workers", type=int, default=2, help="jobs at a time")
    parser.add_argument("--analysers", type=int, default=1, help="analyses at a time")
    parser.add_argument(
        "--cache-mb", type=int, default=2048, help="unsealed columns kept in memory"
    )
    parser.add_argument(
        "--job-images-mb",
        type=int,
        help="unsealed columns that one job has open at once (default: as --cache-mb)",
    )
    parser.add_argument("--keeper", help="as root: run door and unsealer as this user")
    parser.add_argument("--worker", help="as root: run whatever is foreign as this user")
    parser.add_argument(
        "--role", choices=["unsealer", "forkserver"], help=argparse.SUPPRESS
    )
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s sandbox %(message)s")
    try:
        if options.role is not None:
            return _child(options.role, options.rest)
        if options.socket is None or options.vault is None:
            parser.error("--socket and --vault are required")
        if min(options.workers, options.analysers, options.cache_mb) < 1:
            parser.error("--workers, --analysers and --cache-mb are at least 1")
        if (options.keeper is None) != (options.worker is None):
            parser.error("--keeper and --worker go together")
        return _daemon(options)
    except SandboxError as error:
        logging.getLogger("bonded.sandbox").error(  # noqa: TRY400 - a traceback would quote values
            "%s %s", error.message, error.hint
        )
        return 1


def _daemon(options: argparse.Namespace) -> int:
    from sandbox.processes import daemon

    named = options.keeper is not None
    return daemon.run(
        daemon.Configuration(
            socket=options.socket.absolute(),
            vault=options.vault.resolve(),
            workers=options.workers,
            analysers=options.analysers,
            cache_bytes=options.cache_mb * 1024**2,
            users=users.find_users(options.keeper, options.worker) if named else None,
            job_images_bytes=(options.job_images_mb or options.cache_mb) * 1024**2,
        )
    )


def _child(role: str, rest: list[str]) -> int:
    """Be a child: end with the parent, ignore the terminal's Ctrl-C, keep no dump."""
    parent, account = int(os.environ.pop("BONDED_PARENT")), os.environ.pop("BONDED_ACCOUNT")
    lockdown.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    memory.forbid_core_files()
    if role == "unsealer":
        from sandbox.processes import unsealer

        door, forks, vault, *sizes = rest
        unsealer.prepare()
        _become(account, parent)
        unsealer.main(int(door), int(forks), vault, *map(int, sizes))
        return 0
    from sandbox.processes import forkserver

    door_end, images, workers, analysers = map(int, rest)
    forkserver.prepare()  # reads modules, which another user need not be able to
    _become(account, parent)
    forkserver.main(door_end, images, workers=workers, analysers=analysers)
    os._exit(0)  # engines that are ready are nobody's to close


def _become(account: str, parent: int) -> None:
    if account:
        users.account_of(account).become()
        lockdown.die_with_parent(parent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
