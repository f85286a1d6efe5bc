"""Which users the daemon's processes run as, where it is started as root.

The keeper owns the vault and sees keys: door and unsealer run as it, as does the node. The
worker owns nothing: fork server, workers and analysers run as it, so that what breaks out
of a worker still is not the user whose files and processes hold keys and images.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from dataclasses import dataclass

from sandbox.control import Layer
from sandbox.errors import SandboxUnavailable
from sandbox.processes import lockdown

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the machine."""

    name: str
    user: int
    group: int

    def become(self) -> None:
        """Be this user for ever."""
        lockdown.become(self.user, self.group)


@dataclass(frozen=True, slots=True)
class Users:
    """Who keeps keys and images, and who runs what is foreign."""

    keeper: Account
    worker: Account

    @property
    def layer(self) -> Layer:
        """What the health report says of it."""
        return Layer(
            "own_user",
            required=False,
            on=True,
            reason=f"door and unsealer as {self.keeper.name}, fork server and workers as"
            f" {self.worker.name}",
        )


def find_users(keeper: str, worker: str) -> Users:
    """Return the accounts of these names.

    Raises SandboxUnavailable unless this process is root and they are two users, neither
    of them root.
    """
    if os.geteuid() != 0:
        raise SandboxUnavailable(
            "only root can give its processes to other users",
            hint="Start the daemon as root, or leave the users' names out.",
        )
    users = Users(account_of(keeper), account_of(worker))
    if 0 in (users.keeper.user, users.worker.user):
        raise SandboxUnavailable("no process of the sandbox may stay root")
    if users.keeper.user == users.worker.user:
        raise SandboxUnavailable("keeper and worker must be two users")
    return users


def is_allowed_peer(connection: socket.socket) -> bool:
    """Whether who connected is this process's own user, or root."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(told)
    return user in (os.geteuid(), 0)


def account_of(name: str) -> Account:
    """Return the account of that name; raises SandboxUnavailable if there is none."""
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        raise SandboxUnavailable(
            f"there is no user {name} on this machine",
            hint="Make it first: a system user without a home and a shell.",
        ) from error
    return Account(name, found.pw_uid, found.pw_gid)
