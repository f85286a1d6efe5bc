import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet.encryption import create_decryption_properties

from sandbox import codec, errors, launcher
from sandbox.control import KeyOffer, KeyQuestion, Progress
from sandbox.files.footers import Footer
from sandbox.files.pme import aad_prefix
from sandbox.files.sealing import SealReader
from sandbox.job_keys import TransportKey, keys_in, seal_keys, with_keys
from sandbox.launcher import Daemon
from sandbox.protocol import (
    AnalyseJob,
    ColumnGroup,
    CsvOptions,
    EncryptedTable,
    ExecuteJob,
    ExecuteOutcome,
    Format,
    GroupOutput,
    Limits,
    PartitionJob,
    PartitionOutcome,
    ProfileJob,
    Refusal,
    RekeyJob,
    RekeyOutcome,
    SubsetJob,
    SubsetOutcome,
    TableSchema,
)
from tests.unit.sandbox.daemon_fixture import (
    DATA_KEY,
    POLICY,
    PURPOSE,
    STAGED_KEY,
    Served,
    is_alive,
    mill_csv,
    serving,
    wait_until_serving,
)

pytestmark = pytest.mark.sandboxed
SQL = "SELECT type, count(*) AS n, sum(torque) AS t FROM mill GROUP BY type"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def mill(served: Served) -> tuple[EncryptedTable, TableSchema]:
    table, outcome = served.publish(mill_csv(), "mill-v1")
    return table, outcome.schema


def execute_job(
    served: Served, mill: tuple[EncryptedTable, TableSchema], name: str
) -> ExecuteJob:
    table, schema = mill
    analysed = served.client.run(AnalyseJob(name, SQL, PURPOSE, POLICY, (schema,)))
    fingerprint = json.loads(analysed.shape)["fingerprint"]  # type: ignore[union-attr]
    return ExecuteJob(name, SQL, PURPOSE, POLICY, (table,), (schema,), fingerprint)


def test_execute_is_not_disturbed_by_columns_that_it_does_not_read(
    served: Served, mill: tuple[EncryptedTable, TableSchema]
) -> None:
    table, outcome = served.publish(mill_csv(), "beside")
    job = execute_job(served, (table, outcome.schema), "beside")
    path = served.vault / table.files[0].name
    flip_in(path, "secret", "beside")

    answer = served.client.run(job)
    expected = served.client.run(execute_job(served, mill, "beside-whole"))
    assert isinstance(answer, ExecuteOutcome)
    assert isinstance(expected, ExecuteOutcome)
    assert sorted(map(str, answer.rows)) == sorted(map(str, expected.rows))
    # Where the record has no footer's digest, all of the file must be the recorded one.
    files = tuple(replace(file, footer_sha256="") for file in table.files)
    whole = replace(job, tables=(replace(table, files=files),))
    with pytest.raises(errors.DistributionCorrupt):
        served.client.run(whole)


def test_profile_and_partition_keep_every_row_and_each_unit_together(
    served: Served,
) -> None:
    lines = mill_csv(2000).splitlines()
    doubled = b"\n".join([*lines, *lines[1:]]) + b"\n"
    table, outcome = served.publish(doubled, "doubled", shards=3)

    assert (outcome.rows, outcome.units) == (4000, 2000)
    assert sum(file.rows for file in outcome.files) == 4000
    assert all(file.rows and file.rows % 2 == 0 for file in table.files)
    for file in table.files:
        assert (served.vault / file.name).read_bytes()[-4:] == b"PARE"
        assert file.footer_sha256


def test_execute_counts_what_plain_python_counts(
    served: Served, mill: tuple[EncryptedTable, TableSchema]
) -> None:
    outcome = served.client.run(execute_job(served, mill, "execute"))

    assert isinstance(outcome, ExecuteOutcome)
    counted = {row[0]: row[1] for row in outcome.rows}
    assert counted == {"L": 1000, "M": 1000, "H": 1000}
    assert outcome.metering.bytes_scanned > 0


def test_execute_is_warm_the_second_time_until_forgotten(
    served: Served, mill: tuple[EncryptedTable, TableSchema]
) -> None:
    served.client.run(execute_job(served, mill, "warm"))

    assert served.client.health()["cached_bytes"] > 0
    assert served.client.forget("mill-v1") > 0
    assert served.client.forget("mill-v1") == 0


def test_execute_refuses_another_key_also_when_warm(
    served: Served, mill: tuple[EncryptedTable, TableSchema]
) -> None:
    job = execute_job(served, mill, "other-key")
    served.client.run(job)
    other = replace(job, tables=(replace(mill[0], key=b"x" * 32),))

    with pytest.raises(errors.KeyUnusable):
        served.client.run(other)
    served.client.forget("mill-v1")
    with pytest.raises(errors.KeyUnusable):
        served.client.run(other)


def test_execute_refuses_swapped_shards_and_another_version(
    served: Served, mill: tuple[EncryptedTable, TableSchema]
) -> None:
    job = execute_job(served, mill, "swapped")
    first, second = mill[0].files
    for table in (
        replace(mill[0], files=(second, first)),
        replace(mill[0], version_id="another"),
    ):
        with pytest.raises(errors.KeyUnusable):
            served.client.run(replace(job, tables=(table,)))


def flip_in(path: Path, column: str, version: str) -> None:
    """Flip a bit in the middle of a shard's first chunk of that column."""
    with path.open("r+b") as file:
        footer = Footer(file.fileno(), key=DATA_KEY, prefix=aad_prefix(version, 0))
        (chunk,) = footer.chunks(footer.kept(frozenset({column})))[0]
        file.seek(chunk.start + chunk.size_bytes // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def test_execute_refuses_an_altered_file(served: Served) -> None:
    table, outcome = served.publish(mill_csv(), "altered")
    job = execute_job(served, (table, outcome.schema), "altered")
    path = served.vault / table.files[0].name
    flip_in(path, "torque", "altered")

    with pytest.raises(errors.DistributionCorrupt):
        served.client.run(job)
    path.unlink()
    with pytest.raises(errors.DistributionCorrupt):
        served.client.run(job)


def test_subset_package_opens_with_its_key_and_holds_the_rules_rows(
    served: Served, mill: tuple[EncryptedTable, TableSchema]
) -> None:
    table, schema = mill
    job = SubsetJob(
        *("subset", POLICY, 0, ("id", "torque", "fail"), table, schema, 40),
        (("bonded.licence", "CDLA-Permissive-2.0"),),
        *("packages/one", b"o" * 32, b"p" * 32),
    )

    outcome = served.client.run(job)

    assert isinstance(outcome, SubsetOutcome)
    with (served.vault / "packages/one").open("rb") as file:
        content = b"".join(SealReader(file, b"o" * 32, "packages/one"))
    read = pq.read_table(io.BytesIO(content))
    assert (read.num_rows, read.column_names) == (40, ["id", "torque", "fail"])
    assert read.schema.metadata[b"bonded.licence"] == b"CDLA-Permissive-2.0"
    assert not {str(i) for i in range(3000)} & set(read["id"].to_pylist())
    again = served.client.run(replace(job, output="packages/two"))
    assert again.content_sha256 == outcome.content_sha256  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name", ["../out", "/etc/out", "a//b", "a/./b", "a/../b", "", "a\0b", "x" * 600]
)
def test_outputs_stay_inside_the_vault(served: Served, name: str) -> None:
    source = EncryptedTable("mill", "v", (), DATA_KEY)
    job = PartitionJob("out", source, (), b"s" * 32, "v", (name,), DATA_KEY)

    with pytest.raises(errors.ProtocolError):
        served.client.run(job)
    assert not (served.vault.parent / "out").exists()


def test_outputs_are_written_once_and_not_at_all_after_an_error(served: Served) -> None:
    outcome = served.profile(mill_csv(100), "once")
    with pytest.raises(errors.ProtocolError, match="taken"):
        served.profile(mill_csv(100), "once")
    (staged,) = outcome.staged
    assert (served.vault / staged.name).stat().st_size == staged.size_bytes
    assert [path.name for path in (served.vault / "once").iterdir()] == ["staged"]

    with pytest.raises(errors.UploadRejected):
        served.profile(b"a,b\n1,2\n3\n", "broken")
    assert list((served.vault / "broken").iterdir()) == []


def test_a_job_that_needs_more_memory_than_it_has_is_refused(served: Served) -> None:
    content = b"t\n" + b"\n".join(b"%d-" % i + b"x" * 2000 for i in range(25_000))

    with pytest.raises(errors.ResourceExceeded):
        served.profile(content, "greedy", limits=Limits(memory_bytes=24 * 1024**2))
    assert served.client.health()["running"] == 0


def test_an_answer_larger_than_its_limit_is_refused(
    served: Served, mill: tuple[EncryptedTable, TableSchema]
) -> None:
    job = execute_job(served, mill, "large")

    with pytest.raises(errors.ResourceExceeded, match="bytes") as caught:
        served.client.run(replace(job, limits=Limits(output_bytes=100)))

    assert caught.value.metering is not None
    assert caught.value.metering.bytes_scanned > 0


def big_csv() -> bytes:
    return b"a,b,c\n" + b"".join(
        b"%d,%d.5,text number %d\n" % (i, i, i) for i in range(1_500_000)
    )


def test_deadline_kills_a_worker_and_leaves_nothing(served: Served) -> None:
    started = time.monotonic()

    with pytest.raises(errors.DeadlineExceeded):
        served.profile(big_csv(), "slow", limits=Limits(deadline_seconds=0.3))
    assert time.monotonic() - started < 20
    assert list((served.vault / "slow").iterdir()) == []


def in_background(run: Callable[[], object]) -> tuple[threading.Thread, list[Exception]]:
    caught: list[Exception] = []

    def call() -> None:
        try:
            run()
        except errors.SandboxError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, caught


def is_running(pid: int) -> bool:
    """Whether a process still runs: one that an earlier test killed may linger unreaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for_worker(served: Served) -> int:
    """The pid of a worker that has a job: others wait and use no processor time."""
    stop = time.monotonic() + 20
    while time.monotonic() < stop:
        for pid in served.descendants():
            if pid not in served.direct_children() and _ticks_of(pid) > 10:
                return pid
        time.sleep(0.01)
    raise AssertionError("no worker was started")


def _ticks_of(pid: int) -> int:
    if not is_running(pid):
        return 0
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(stat[11]) + int(stat[12])
    return 0


def test_cancel_kills_the_running_worker(served: Served) -> None:
    thread, caught = in_background(lambda: served.profile(big_csv(), "cancelled"))
    worker = wait_for_worker(served)

    assert served.client.cancel("cancelled")
    thread.join(20)

    assert isinstance(caught[0], errors.Cancelled)
    assert not is_alive(worker)
    assert not served.client.cancel("cancelled")
    assert list((served.vault / "cancelled").iterdir()) == []


def test_a_killed_worker_is_lost_and_the_next_job_runs(
    served: Served, mill: tuple[EncryptedTable, TableSchema]
) -> None:
    thread, caught = in_background(lambda: served.profile(big_csv(), "killed"))
    os.kill(wait_for_worker(served), signal.SIGKILL)
    thread.join(20)

    assert isinstance(caught[0], errors.WorkerLost)
    assert list((served.vault / "killed").iterdir()) == []
    served.client.run(execute_job(served, mill, "after"))


def public_key(served: Served) -> bytes:
    from sandbox.door_address import connect_to

    with connect_to(served.socket) as connection:
        codec.send(connection, KeyQuestion())
        offer = codec.receive(connection)
    assert isinstance(offer, KeyOffer)
    return offer.public


@pytest.mark.parametrize("key", [b"g" * 32, b"g" * 80])
def test_a_key_that_was_not_encrypted_to_the_unsealer_is_refused(
    served: Served, mill: tuple[EncryptedTable, TableSchema], key: bytes
) -> None:
    from sandbox.door_address import connect_to

    job = seal_keys(execute_job(served, mill, "clear"), public_key(served))
    clear = with_keys(job, [key] * len(keys_in(job)))
    with connect_to(served.socket) as connection:
        codec.send(connection, clear)
        reply = codec.receive(connection)

    assert isinstance(reply, Refusal)
    assert reply.code == "transport_key_unknown"


def test_keys_are_encrypted_anew_for_a_daemon_that_was_started_anew(
    served: Served,
    mill: tuple[EncryptedTable, TableSchema],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stale = TransportKey().public
    monkeypatch.setitem(launcher._PUBLIC_KEYS, str(served.socket), stale)

    outcome = served.client.run(execute_job(served, mill, "stale"))

    assert isinstance(outcome, ExecuteOutcome)


def test_a_client_that_goes_away_cancels_its_job(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        from sandbox.door_address import connect_to

        source = served.upload(big_csv(), "gone.sealed")
        connection = stack.enter_context(connect_to(served.socket))
        job = ProfileJob(
            "gone", source, Format.CSV, CsvOptions(), "v", ("gone/staged",), b"g" * 32
        )
        codec.send(connection, seal_keys(job, public_key(served)))
        worker = wait_for_worker(served)

    stop = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < stop:
        time.sleep(0.02)
    assert not is_alive(worker)


def test_progress_is_told_while_a_job_runs(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_MEANWHILE_SECONDS", 0.05)
    content = big_csv()
    job = ProfileJob(
        "told", served.upload(content, "told.sealed"), Format.CSV, CsvOptions(), "v",
        ("told/staged",), b"g" * 32,
    )  # fmt: skip
    found: list[Progress] = []

    served.client.run(job, meanwhile=lambda: found.append(served.client.progress("told")))

    assert len(content) in {progress.all_bytes for progress in found}
    assert all(0 <= p.read_bytes <= p.all_bytes for p in found)
    assert served.client.progress("told") == Progress(0, 0)


def test_a_job_is_given_up_when_its_caller_raises_meanwhile(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_MEANWHILE_SECONDS", 0.05)
    source = served.upload(big_csv(), "left.sealed")
    job = ProfileJob(
        "left", source, Format.CSV, CsvOptions(), "v", ("left/staged",), b"g" * 32
    )

    def leave() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        served.client.run(job, meanwhile=leave)

    stop = time.monotonic() + 10
    while served.client.health()["running"] and time.monotonic() < stop:
        time.sleep(0.02)
    assert not served.client.health()["running"]


def test_junk_at_the_door_is_refused_and_the_daemon_lives(served: Served) -> None:
    from sandbox.door_address import connect_to

    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\2{}", b"\xff" * 8, b"\0\0\0\0"):
        with connect_to(served.socket) as connection:
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            reply = codec.receive(connection)
        assert isinstance(reply, Refusal)
        assert reply.code == errors.ProtocolError.code
    assert served.client.health()["workers"] == 2


def test_health_reports_each_layer(served: Served) -> None:
    layers = {layer["name"]: layer for layer in served.client.health()["layers"]}

    for name in ("landlock", "seccomp", "limits", "worker"):
        assert layers[name]["required"]
        assert layers[name]["on"]
    for name in ("namespaces", "own_user", "cgroup", "memory_lock", "no_swap"):
        assert not layers[name]["required"]
        assert layers[name]["on"] or layers[name]["reason"]


def test_children_have_none_of_the_nodes_environment(served: Served) -> None:
    lasting = set(served.direct_children())
    seen: dict[int, tuple[bytes, bytes]] = {}
    stop = time.monotonic() + 20
    # A worker may end between the listing and the reading; the next one is read then.
    while not (lasting < seen.keys()) and time.monotonic() < stop:
        for pid in served.descendants():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                process = Path(f"/proc/{pid}")
                environment = (process / "environ").read_bytes()
                if words := (process / "cmdline").read_bytes():  # none: it is gone
                    seen[pid] = environment, words

    assert lasting < seen.keys(), "the lasting children and a worker must be seen"
    for environment, words in seen.values():
        assert b"must-not-be-seen" not in environment
        assert b"d" * 32 not in words


def test_a_second_daemon_at_the_same_socket_refuses(served: Served) -> None:
    second = subprocess.run(
        [
            *(sys.executable, "-m", "sandbox", "--socket", str(served.socket)),
            *("--vault", str(served.vault)),
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert second.returncode == 1
    assert b"another sandbox daemon" in second.stderr
    served.client.health()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_daemon(tmp_path: Path, number: int) -> None:
    with serving(tmp_path) as own:
        thread, caught = in_background(lambda: own.profile(big_csv(), "orphan"))
        wait_for_worker(own)
        below = own.descendants()
        own.process.send_signal(number)
        status = own.process.wait(20)
        thread.join(20)
        stop = time.monotonic() + 1.5  # much less than the job would take to its end
        while any(map(is_alive, below)) and time.monotonic() < stop:
            time.sleep(0.02)

        assert [pid for pid in below if is_alive(pid)] == []
        assert isinstance(caught[0], errors.SandboxError)
        assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    with serving(tmp_path) as again:  # the stale socket is replaced
        again.client.health()


@pytest.mark.parametrize("child", [0, 1])
def test_the_daemon_ends_when_a_child_dies(tmp_path: Path, child: int) -> None:
    with serving(tmp_path) as own:
        os.kill(own.descendants()[child], signal.SIGKILL)

        assert own.process.wait(20) == 1
        with pytest.raises(errors.SandboxUnavailable):
            own.client.health()


def test_daemon_serves_at_a_socket_with_a_long_path(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with serving(deep) as own:
        assert own.client.health()["running"] == 0
        wait_until_serving(Daemon(own.socket), own.process)


def test_run_without_a_daemon_says_so(tmp_path: Path) -> None:
    with pytest.raises(errors.SandboxUnavailable):
        Daemon(tmp_path / "none.sock").health()


def test_rekey_in_the_daemon_leaves_a_table_that_answers(
    served: Served, mill: tuple[EncryptedTable, TableSchema]
) -> None:
    table, schema = mill
    outputs = tuple(f"rekeyed/{index}" for index in range(len(table.files)))
    new_key = b"r" * 32

    outcome = served.client.run(
        RekeyJob("rk", table.version_id, "", table.files, table.key, outputs, new_key)
    )

    assert isinstance(outcome, RekeyOutcome)
    assert all(file.footer_sha256 for file in outcome.files)
    assert [file.size_bytes for file in outcome.files] == [
        file.size_bytes for file in table.files
    ]
    renewed = replace(table, files=outcome.files, key=new_key)
    before = served.client.run(execute_job(served, (table, schema), "rk-before"))
    after = served.client.run(execute_job(served, (renewed, schema), "rk-after"))
    assert isinstance(before, ExecuteOutcome)
    assert isinstance(after, ExecuteOutcome)
    assert after.rows == before.rows


def test_rekey_that_fails_leaves_no_file(
    served: Served, mill: tuple[EncryptedTable, TableSchema]
) -> None:
    table, _ = mill
    job = RekeyJob("rk", "other", "", table.files, table.key, ("rk-a", "rk-b"), b"r" * 32)

    with pytest.raises(errors.KeyUnusable):
        served.client.run(job)
    assert not list(served.vault.glob("rk-*"))


@pytest.fixture(scope="module")
def apart(served: Served) -> tuple[EncryptedTable, TableSchema]:
    """The mill's rows, with the hidden column in files and under a key of its own."""
    staged = served.profile(mill_csv(), "apart").staged
    source = EncryptedTable("mill", "apart-staged", staged, STAGED_KEY)
    group = GroupOutput("hidden", ("secret", "day"), ("apart/h0", "apart/h1"), b"h" * 32)
    job = PartitionJob(
        *("apart", source, ("id",), b"s" * 32, "apart", ("apart/0", "apart/1"), DATA_KEY),
        groups=(group,),
    )
    outcome = served.client.run(job)
    assert isinstance(outcome, PartitionOutcome)
    hidden = ColumnGroup("hidden", group.columns, outcome.groups[0], group.key)
    return EncryptedTable("mill", "apart", outcome.files, DATA_KEY, (hidden,)), (
        outcome.schema
    )


def test_execute_needs_no_key_of_a_group_it_does_not_touch(
    served: Served,
    mill: tuple[EncryptedTable, TableSchema],
    apart: tuple[EncryptedTable, TableSchema],
) -> None:
    table, schema = apart
    whole = served.client.run(execute_job(served, mill, "whole"))

    for given in (table, replace(table, groups=())):
        outcome = served.client.run(execute_job(served, (given, schema), "apart"))
        assert isinstance(outcome, ExecuteOutcome)
        assert isinstance(whole, ExecuteOutcome)
        assert sorted(outcome.rows) == sorted(whole.rows)
    assert {name for name, _ in schema.columns} == {name for name, _ in mill[1].columns}


def test_partition_writes_each_column_once(
    served: Served, apart: tuple[EncryptedTable, TableSchema]
) -> None:
    table, _ = apart
    (group,) = table.groups

    for shard, (file, hidden) in enumerate(zip(table.files, group.files, strict=True)):
        own = read_encrypted(served.vault / file.name, DATA_KEY, f"apart/{shard}")
        rest = read_encrypted(
            served.vault / hidden.name, b"h" * 32, f"apart/hidden/{shard}"
        )
        assert own.column_names == ["id", "type", "torque", "fail"]
        assert rest.column_names == ["day", "secret"]
        numbers = [text.removeprefix("s") for text in rest["secret"].to_pylist()]
        assert [str(unit) for unit in own["id"].to_pylist()] == numbers


def read_encrypted(path: Path, key: bytes, prefix: str) -> pa.Table:
    opened = create_decryption_properties(footer_key=key, aad_prefix=prefix.encode())
    return pq.read_table(path, decryption_properties=opened)


@pytest.mark.parametrize(
    "columns",
    [("absent",), ("id", "id"), ("id", "type", "torque", "day", "fail", "secret")],
)
def test_partition_refuses_groups_that_do_not_fit(
    served: Served, columns: tuple[str, ...]
) -> None:
    staged = served.profile(mill_csv(50), f"unfit-{len(columns)}-{columns[0]}").staged
    name = f"unfit-{len(columns)}-{columns[0]}-staged"
    source = EncryptedTable("mill", name, staged, STAGED_KEY)
    group = GroupOutput("hidden", columns, ("unfit/h",), b"h" * 32)
    job = PartitionJob(
        *("unfit", source, ("id",), b"s" * 32, "unfit", ("unfit/0",), DATA_KEY),
        groups=(group,),
    )

    with pytest.raises(errors.ProtocolError):
        served.client.run(job)
    assert not (served.vault / "unfit/0").exists()
