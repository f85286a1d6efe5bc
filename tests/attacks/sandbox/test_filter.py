"""The system call filter from outside: deny by default, down to the last number."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable

import pytest

from sandbox.processes import lockdown, seccomp, syscalls
from tests.attacks.sandbox.attempts import LIBC
from tests.attacks.sandbox.test_lockdown import in_fork

pytestmark = pytest.mark.sandboxed
_LAST_NUMBER = 600  # beyond every call that there is
# uretprobe and uprobe: kernels let them pass every filter, and kill whoever calls them from
# elsewhere than the place they were made for.
_NOT_FILTERED = {335, 336} if syscalls.machine() == "x86_64" else set()


def _named() -> set[int | None]:
    column = 0 if syscalls.machine() == "x86_64" else 1
    return {n[column] for n in (*seccomp._ALLOWED.values(), *seccomp._CONDITIONAL.values())}


def test_every_call_that_is_not_named_answers_eperm() -> None:
    """Also those that no library knows, and those that kernels will have."""

    def sweep() -> object:
        lockdown.confine_calls()
        others: dict[int, int] = {}
        for number in sorted(set(range(_LAST_NUMBER)) - _named() - _NOT_FILTERED):
            ctypes.set_errno(0)
            arguments = [ctypes.c_long(-1)] * 6
            result = LIBC.syscall(ctypes.c_long(number), *arguments)
            if result != -1 or ctypes.get_errno() != errno.EPERM:
                others[number] = ctypes.get_errno()
        return others

    clone3 = 435
    assert in_fork(sweep, locked=False) == {str(clone3): errno.ENOSYS}


@pytest.mark.skipif(syscalls.machine() != "x86_64", reason="no other has such numbers")
def test_numbers_of_the_other_table_kill() -> None:
    def call() -> object:
        lockdown.confine_calls()
        LIBC.syscall(ctypes.c_long(0x40000000 + 39))
        return "still here"

    assert (
        in_fork(call, locked=False) == f"status {signal.SIGSYS | 0x80}"
        or in_fork(call, locked=False) == f"status {int(signal.SIGSYS)}"
    )


def test_filter_holds_for_threads_that_come_later() -> None:
    def work() -> object:
        import threading

        said: list[object] = []

        def attack() -> None:
            try:
                os.kill(os.getppid(), 0)
                said.append("through")
            except PermissionError:
                said.append("stopped")

        lockdown.confine_calls()
        thread = threading.Thread(target=attack)
        thread.start()
        thread.join()
        return said

    assert in_fork(work, locked=False) == ["stopped"]


def test_filter_is_put_on_threads_that_are_there() -> None:
    """A worker has one thread when it locks itself down; this stands if it had more."""

    def work() -> object:
        import threading

        locked, said = threading.Event(), []

        def attack() -> None:
            locked.wait()
            try:
                os.kill(os.getppid(), 0)
                said.append("through")
            except PermissionError:
                said.append("stopped")

        thread = threading.Thread(target=attack)
        thread.start()
        lockdown.confine_calls()
        locked.set()
        thread.join()
        return said

    assert in_fork(work, locked=False) == ["stopped"]


@pytest.mark.parametrize("name", sorted(seccomp._ALLOWED))
def test_allowed_calls_have_a_number_for_each_architecture(name: str) -> None:
    x86, arm = seccomp._ALLOWED[name]

    assert x86 is not None
    assert arm is not None or name in {"stat", "lstat", "readlink", "access", "poll"}


def test_waiting_filter_gives_way_to_the_final_one_only() -> None:
    """Filters add up: after the second, neither limits nor filters can be changed."""

    def work() -> object:
        lockdown.confine_calls(is_waiting=True)
        lockdown.confine_calls()
        said = []
        attacks: tuple[Callable[[], None], ...] = (
            lockdown.confine_calls,
            syscalls.forbid_new_privileges,
        )
        for attack in attacks:
            try:
                attack()
                said.append("through")
            except Exception as error:  # noqa: BLE001 - whatever stops it is told
                said.append(type(error).__name__)
        return said

    assert in_fork(work, locked=False) == ["SandboxUnavailable", "PermissionError"]
