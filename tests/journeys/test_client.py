"""The client and its command line against a served API; only the sandbox is the fake one.

`tests/journeys/test_client_live.py` takes the same walk over a real node.
"""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bonded import Node, NoGrant, Problem, QueryRefused, cli
from bonded.errors import (
    AnswerMalformed,
    IntegrityFailed,
    LicenceNotAccepted,
    NotFound,
    NotSignedIn,
    RunFailed,
    StillWaiting,
)
from bonded.receipts import VerificationFailed
from bonded.results import Package

from exchange.audit.services import seal_all
from exchange.catalogue.services import register_dataset
from exchange.parties.models import ApiToken, Kind, Role, User
from exchange.queries import releases
from exchange.queries.models import Query, Release
from sandbox.errors import WorkerLost
from tests.factories import walk
from tests.factories.fixtures import daemon, house
from tests.factories.parties import OrganisationFactory, bearer, member
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import House

__all__ = ["daemon", "house"]
pytestmark = pytest.mark.django_db(transaction=True)
PURPOSE = "predictive-maintenance"
Run = Callable[..., Any]


class Clock:
    """The client's own clock: it moves only while the client sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        walk.perform_all()
        seal_all()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """While the client waits, the node works and seals, as its processes would."""
    clock = Clock()
    monkeypatch.setattr("bonded.session.time", clock)
    return clock


@pytest.fixture(autouse=True)
def node_does_not_wait(settings: Any) -> None:
    """Nobody works while the served API waits: the client finds itself put off, and polls.

    That it waits where it can, `test_query_is_answered_by_one_request` shows.
    """
    settings.BONDED_WAIT_SECONDS = 0


@pytest.fixture(autouse=True)
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("BONDED_URL", "BONDED_TOKEN", "BONDED_VERIFIER_KEY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "settings" / "config.json"
    monkeypatch.setenv("BONDED_CONFIG", str(path))
    return path


def token(user: User) -> str:
    return bearer(user)["Authorization"].removeprefix("Bearer ")


@pytest.fixture
def node(house: House, live_server: Any) -> Iterator[Node]:
    with Node.connect(live_server.url, token(house.builder)) as node:
        yield node


def ask(node: Node, kind: str = "aggregate") -> Any:
    licence = "CC-BY-4.0" if kind == "aggregate" else "CDLA-Permissive-2.0"
    return node.dataset("mill/milling-runs").request(
        purpose=PURPOSE,
        legal_basis="not-personal",
        justification="To plan.",
        kind=kind,
        accept_licence=licence,
    )


def test_search_ask_query_and_verify(house: House, node: Node) -> None:
    walk.offered(house)
    (dataset,) = node.search("milling")
    assert dataset.name == "mill/milling-runs"
    assert dataset.columns == ("id", "type", "torque", "failure")
    assert "runs" in dataset.policy or dataset.policy
    request = ask(node)
    assert (request.state, bool(request.grant)) == ("FINALIZED", True)
    assert dataset.check(walk.COUNT_BY_TYPE, purpose=PURPOSE).is_allowed

    result = dataset.query(walk.COUNT_BY_TYPE, purpose=PURPOSE)

    frame = result.to_pandas()
    assert frame["n"].dropna().tolist() == [98, 99]
    assert result.suppressed == 1
    assert result.partial
    verified = result.receipt.verify()
    assert verified.result_checked
    assert verified.entry.payload["result_sha256"] == result.sha256
    again = node.fetch(result.release_id)
    assert again == result


def test_altered_result_or_other_key_does_not_verify(house: House, node: Node) -> None:
    walk.offered(house)
    ask(node)
    result = node.dataset("milling-runs").query(walk.COUNT_BY_TYPE)

    altered = node.receipt(result.release_id, "0" * 64)
    with pytest.raises(VerificationFailed) as other_result:
        altered.verify()
    other = "other.example+00000000+" + result.receipt.verifier_key.rsplit("+", 1)[1]
    with pytest.raises(VerificationFailed):
        result.receipt.verify(verifier_key=other)
    assert other_result.value.code == "result_mismatch"
    assert result.receipt.document["format"] == "bonded-receipt/1"


def test_subset_is_downloaded_and_verified(
    house: House, node: Node, tmp_path: Path
) -> None:
    walk.offered(house)
    ask(node, "subset")
    dataset = node.dataset("milling-runs")

    with pytest.raises(LicenceNotAccepted, match="CDLA-Permissive"):
        dataset.subset(["type"])
    with pytest.raises(LicenceNotAccepted, match="not MIT"):
        dataset.subset(["type"], accept_licence="MIT")
    package = dataset.subset(["type", "failure"], accept_licence=dataset.licence)

    assert isinstance(package, Package)
    path = package.download(tmp_path)
    assert json.loads(path.read_bytes())["rows"][0].keys() == {"type", "failure"}
    assert package.rows == 50
    assert package.receipt.verify().result_checked
    assert package.url.startswith(node.config.url)


def test_refused_query_raises_every_reason(house: House, node: Node) -> None:
    walk.offered(house)
    ask(node)

    with pytest.raises(QueryRefused) as refused:
        node.dataset("milling-runs").query("SELECT * FROM runs")

    assert len(refused.value.reasons) >= 2
    assert all(reason.code and reason.message for reason in refused.value.reasons)
    verdict = node.dataset("milling-runs").check("SELECT * FROM runs", purpose=PURPOSE)
    assert verdict.reasons == refused.value.reasons


def test_without_a_grant_the_way_forward_is_told(house: House, node: Node) -> None:
    walk.offered(house)

    with pytest.raises(NoGrant) as refused:
        node.dataset("milling-runs").query(walk.COUNT_BY_TYPE)

    assert "bonded request mill/milling-runs" in refused.value.hint


def test_names_that_fit_none_or_several(house: House, node: Node) -> None:
    offer = walk.offered(house)
    other = OrganisationFactory(slug="other")
    register_dataset(
        organisation=other,
        title="Milling runs",
        by=member(other, Role.STEWARD),
    )
    assert node.dataset(str(offer.dataset_id)).name == "mill/milling-runs"
    with pytest.raises(NotFound, match="no dataset is called"):
        node.dataset("nothing")
    assert node.dataset("milling-runs").name == "mill/milling-runs"
    with pytest.raises(Problem, match="no such dataset"):
        node.dataset("00000000-0000-4000-8000-000000000000")


def test_failed_run_says_why(house: House, node: Node, daemon: FakeDaemon) -> None:
    walk.offered(house)
    ask(node)
    daemon.errors.append(WorkerLost("the worker died", hint="Try again."))

    with pytest.raises(RunFailed) as failed:
        node.dataset("milling-runs").query(walk.COUNT_BY_TYPE)

    assert failed.value.code == "worker_lost"


def test_query_for_reviewers_is_still_waiting(house: House, node: Node) -> None:
    offer = walk.offered(house, aggregate=1)
    ask(node)
    request = house.consumer.access_requests.get()
    walk_decide(house, request)

    with pytest.raises(StillWaiting, match="in review") as waiting:
        node.dataset("milling-runs").query(walk.COUNT_BY_TYPE, timeout_seconds=60)

    assert "bonded status" in waiting.value.hint
    assert offer.is_open


def walk_decide(house: House, request: Any) -> None:
    from exchange.agreements.services import decide_request

    decide_request(request=request, approve=True, by=house.reviewer)


def test_shredded_answer_is_told(house: House, node: Node) -> None:
    walk.offered(house)
    ask(node)
    dataset = node.dataset("milling-runs")
    dataset.query(walk.COUNT_BY_TYPE)
    releases.shred_release(release=Release.objects.get(), by=house.builder)

    with pytest.raises(RunFailed) as failed:
        node.released(node.status(str(Query.objects.get().pk)), timeout_seconds=1)

    assert failed.value.code == "release_shredded"


def test_altered_bytes_are_not_a_result(
    house: House, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk.offered(house)
    ask(node)
    result = node.dataset("milling-runs").query(walk.COUNT_BY_TYPE)
    content, headers = node.transport.content(f"releases/{result.release_id}/content")
    for place in (0, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        answer = (bytes(changed), headers)
        monkeypatch.setattr(node.transport, "content", lambda _, answer=answer: answer)

        with pytest.raises((IntegrityFailed, AnswerMalformed)):
            node.fetch(result.release_id)


def test_wrong_token_is_not_signed_in(house: House, live_server: Any) -> None:
    with (
        Node.connect(live_server.url, "bnd_wrong") as node,
        pytest.raises(NotSignedIn) as no,
    ):
        node.me()

    assert no.value.code == "token_unknown"
    assert no.value.hint


# --- the command line -----------------------------------------------------------------


@pytest.fixture
def bonded(
    house: House,
    live_server: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """`bonded ...` as the builder, signed in: (exit code, output, errors)."""
    monkeypatch.setattr("sys.stdin", io.StringIO(token(house.builder) + "\n"))
    assert cli.main(["login", live_server.url, "--token-stdin"]) == 0
    capsys.readouterr()

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def request_by(bonded: Run, kind: str = "aggregate") -> tuple[int, str, str]:
    licence = "CC-BY-4.0" if kind == "aggregate" else "CDLA-Permissive-2.0"
    done: tuple[int, str, str] = bonded(
        "request",
        "milling-runs",
        "--purpose",
        PURPOSE,
        "--legal-basis",
        "not-personal",
        "--justification",
        "To plan.",
        "--kind",
        kind,
        "--accept-licence",
        licence,
    )
    return done


def test_commands_from_search_to_verify(
    house: House, bonded: Run, tmp_path: Path, settings_file: Path
) -> None:
    walk.offered(house)
    assert stat.S_IMODE(settings_file.stat().st_mode) == 0o600
    assert "mill/milling-runs" in bonded("search", "milling")[1]
    shown = bonded("show", "milling-runs")[1]
    assert "torque" in shown
    assert "you hold no grant" in shown
    assert request_by(bonded)[1].startswith("Granted:")
    assert "you hold: aggregate" in bonded("show", "milling-runs")[1]
    assert bonded("check", "milling-runs", walk.COUNT_BY_TYPE)[:2] == (
        0,
        "It would run at once.\n",
    )
    result, receipt = tmp_path / "result.json", tmp_path / "receipt.json"

    code, out, _ = bonded("query", "milling-runs", walk.COUNT_BY_TYPE, "--out", str(result))
    assert code == 0
    assert "▒▒▒" in out
    assert "98" in out
    release = str(Release.objects.get().pk)
    assert bonded("fetch", release, "--receipt", str(receipt))[0] == 0
    assert bonded("fetch", str(Query.objects.get().pk))[0] == 0
    status = bonded("status")[1]
    assert all(word in status for word in ("finalized", "active", "released"))
    assert release in bonded("status", str(Query.objects.get().pk))[1]
    code, out, _ = bonded("verify", str(receipt), "--result", str(result))
    assert (code, out.splitlines()[0]) == (0, "VERIFIED. Proved:")

    altered = bytearray(result.read_bytes())
    altered[5] ^= 1
    result.write_bytes(altered)
    code, _, errors = bonded("verify", str(receipt), "--result", str(result))
    assert code == 1
    assert "result_mismatch" in errors


def test_command_subset_keeps_the_package(
    house: House, bonded: Run, tmp_path: Path
) -> None:
    walk.offered(house)
    request_by(bonded, "subset")
    refused = bonded("subset", "milling-runs")
    path = tmp_path / "rows.parquet"

    done = bonded(
        "subset",
        "milling-runs",
        "--accept-licence",
        "CDLA-Permissive-2.0",
        "--column",
        "type",
        "--out",
        str(path),
    )
    printed = json.loads(
        bonded("fetch", str(Release.objects.get().pk), "--out", str(path), "--json")[1]
    )

    assert refused[0] == 1
    assert "licence_not_accepted" in refused[2]
    assert (done[0], path.is_file()) == (0, True)
    assert printed["package"]["rows"] == 50
    assert "bnd_" not in json.dumps(printed)


def test_command_cancel_ends_a_query(house: House, bonded: Run, node: Node) -> None:
    walk.offered(house)
    request_by(bonded)
    query = node.dataset("milling-runs").submit(walk.COUNT_BY_TYPE)

    code, out, _ = bonded("cancel", query.id)

    assert code == 0
    assert "the query was cancelled [cancelled]" in out
    assert json.loads(bonded("status", query.id, "--json")[1])["state"] == "failed"


def test_refused_query_exits_with_one_and_prints_reasons(house: House, bonded: Run) -> None:
    walk.offered(house)
    request_by(bonded)

    checked = bonded("check", "milling-runs", "SELECT * FROM runs", "--purpose", PURPOSE)
    refused = bonded("query", "milling-runs", "SELECT * FROM runs")
    as_json = bonded("query", "milling-runs", "SELECT * FROM runs", "--json")

    assert (checked[0], refused[0], as_json[0]) == (1, 1, 1)
    assert "It would be refused" in checked[1]
    assert "→" in refused[2]
    error = json.loads(as_json[1])["error"]
    assert error["code"] == "query_refused"
    assert error["reasons"][0]["code"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("search",),
        ("show", "milling-runs"),
        ("status",),
        ("check", "milling-runs", walk.COUNT_BY_TYPE),
        ("query", "milling-runs", walk.COUNT_BY_TYPE),
        ("audit", "--type", "grant:issued"),
    ],
)
def test_json_is_one_document(
    house: House, bonded: Run, arguments: tuple[str, ...]
) -> None:
    walk.offered(house)
    request_by(bonded)

    code, out, errors = bonded(*arguments, "--json")

    assert (code, errors) == (0, "")
    assert json.loads(out)


def test_json_of_a_request(house: House, bonded: Run) -> None:
    walk.offered(house, aggregate=1)

    waiting = bonded(
        "request",
        "milling-runs",
        "--purpose",
        PURPOSE,
        "--legal-basis",
        "not-personal",
        "--justification",
        "x",
        "--accept-licence",
        "CC-BY-4.0",
        "--json",
    )

    assert json.loads(waiting[1])["state"] == "REQUESTED"


def test_waiting_request_says_where_to_look(house: House, bonded: Run) -> None:
    walk.offered(house, aggregate=1)

    assert "bonded status" in request_by(bonded)[1]


def test_sql_comes_from_a_file_or_the_input(
    house: House, bonded: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk.offered(house)
    request_by(bonded)
    path = tmp_path / "q.sql"
    path.write_text(walk.COUNT_BY_TYPE)

    assert bonded("check", "milling-runs", f"@{path}")[0] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(walk.COUNT_BY_TYPE))
    assert bonded("check", "milling-runs", "-")[0] == 0
    assert bonded("check", "milling-runs", f"@{tmp_path / 'none'}")[0] == 2


def test_audit_exports_a_log_that_verifies(
    house: House, bonded: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk.offered(house)
    request_by(bonded)
    bonded("query", "milling-runs", walk.COUNT_BY_TYPE)
    receipt, log = tmp_path / "receipt.json", tmp_path / "log.jsonl"
    bonded("fetch", str(Release.objects.get().pk), "--receipt", str(receipt))
    assert bonded("audit", "--export", str(log))[0] == 3
    assert list(tmp_path.glob("*.jsonl")) == []
    regulator = member(OrganisationFactory(kind=Kind.REGULATOR), Role.REGULATOR)
    seal_all()
    monkeypatch.setenv("BONDED_TOKEN", token(regulator))

    assert "grant:issued" in bonded("audit", "--type", "grant:issued")[1]
    assert bonded("audit", "--export", str(log))[0] == 0
    assert bonded("verify", str(receipt), "--log", str(log))[0] == 0

    lines = log.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"mill", b"mall", 1)
    log.write_bytes(b"".join(lines))
    assert bonded("verify", str(receipt), "--log", str(log))[0] == 1


def test_login_refuses_a_wrong_token_and_keeps_nothing(
    house: House, live_server: Any, settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BONDED_TOKEN", "bnd_wrong")
    assert cli.main(["login", live_server.url]) == 3
    monkeypatch.setenv("BONDED_TOKEN", "two words")
    assert cli.main(["login", live_server.url]) == 2

    assert not settings_file.exists()


def test_login_does_not_believe_another_log_key(
    bonded: Run,
    live_server: Any,
    settings_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    house: House,
) -> None:
    monkeypatch.setenv("BONDED_TOKEN", token(house.builder))
    kept = json.loads(settings_file.read_text())
    settings_file.write_text(json.dumps({**kept, "verifier_key": "other+00000000+AAAA"}))

    code, _, errors = bonded("login", live_server.url)

    assert code == 1
    assert "another log key" in errors
    assert bonded("login", live_server.url, "--accept-new-key", "--json")[0] == 0
    assert json.loads(settings_file.read_text())["verifier_key"] == kept["verifier_key"]


def test_exit_codes(bonded: Run, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bonded("show", "nothing")[0] == 1
    nobody = bonded("fetch", "00000000-0000-4000-8000-000000000000")
    assert nobody[0] == 1
    assert "not_found" in nobody[2]
    assert bonded("search", "--url", "http://elsewhere.example")[0] == 2
    monkeypatch.setattr("bonded.transport.ATTEMPTS", 1)
    assert bonded("search", "--url", "http://127.0.0.1:9")[0] == 4
    ApiToken.objects.all().delete()
    assert bonded("search")[0] == 3
    with pytest.raises(SystemExit) as usage:
        bonded("eat")
    assert usage.value.code == 2


def test_still_waiting_exits_with_five(house: House, bonded: Run) -> None:
    walk.offered(house, aggregate=1)
    request_by(bonded)
    walk_decide(house, house.consumer.access_requests.get())

    code, _, errors = bonded("query", "milling-runs", walk.COUNT_BY_TYPE, "--wait", "0")

    assert code == 5
    assert "still_waiting" in errors


def test_interrupt_exits_as_shells_expect(
    bonded: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Node, "search", interrupt)

    assert bonded("search")[0] == 130


def test_what_a_node_sends_does_not_move_the_cursor(house: House, bonded: Run) -> None:
    walk.registered(house, title="Mills \x1b[2J\u202e evil")
    builder = member(house.provider, Role.STEWARD)
    assert builder

    out = bonded("search", "--json")[1] + bonded("search")[1]

    assert "\x1b" not in out
    assert isinstance(out, str)


def test_query_is_answered_by_one_request(
    house: House, node: Node, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk.granted(house)
    settings.BONDED_WAIT_SECONDS = 20
    asked: list[str] = []
    send = node.transport._send

    def noted(method: str, path: str, **given: Any) -> Any:
        asked.append(f"{method} {path.partition('/')[0]}")
        return send(method, path, **given)

    monkeypatch.setattr(node.transport, "_send", noted)
    dataset = node.search("milling")[0]
    with walk.node_at_work():
        result = dataset.query(walk.COUNT_BY_TYPE, purpose=PURPOSE)

    assert result.rows
    assert asked.count("POST queries") == 1
    assert "GET queries" not in asked
