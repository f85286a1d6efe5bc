"""What the documents say is so: examples load and run, links and commands lead on."""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from bonded.cli import build_parser
from django.core.management import get_commands, load_command_class

from exchange.agreements.states import LegalBasis
from exchange.demo.machining import machining_csv
from exchange.demo.policies import MACHINING
from ledger.checkpoint import sign_checkpoint
from ledger.note import SigningKey
from ledger.receipt import Receipt, dump_receipt
from policies.codec import load_policy
from policies.document import Aggregate, Grain, Mode, Role
from policies.templates import Template
from sandbox.simulate import Session, Simulator
from tests.factories import ledger
from tests.unit.docs.milling import write_tables

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "DEVELOPERS.md", "CHANGELOG.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Outside `simulate`, which manage.py hands to the sandbox before Django is set up.
WITHOUT_DJANGO = {"simulate"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return [
        text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind == language
    ]


def policies() -> list[tuple[str, str]]:
    """Every whole policy document of the pages; a fragment has no `version`."""
    return [
        (name_of(page), text)
        for page in PAGES
        for text in blocks(page, "yaml")
        if text.startswith("version:") and "tables:" in text
    ]


def asked() -> list[tuple[str, str, str]]:
    """(verdict, code or nothing, SQL) of each example on the model builders' page."""
    found = []
    for text in blocks(ROOT / "docs" / "model-builders.md", "sql"):
        first, _, sql = text.partition("\n")
        verdict, *code = first.removeprefix("-- ").partition(":")[0].split()
        found.append((verdict, " ".join(code), sql))
    return found


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    kept = [re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


@cache
def root_commands() -> frozenset[str]:
    helped = subprocess.run(
        [sys.executable, str(ROOT / "bonded"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    (listed,) = re.findall(r"\{([a-z,]+)\}", helped.stdout)[:1]
    return frozenset(listed.split(","))


def client_commands() -> dict[str, set[str]]:
    (action,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return {
        name: set(parser._option_string_actions) for name, parser in action.choices.items()
    }


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    tables = write_tables(tmp_path_factory.mktemp("docs"))
    (text,) = [text for page, text in policies() if page == "docs/providers.md"]
    return Simulator(load_policy(text), tables)


def test_pages_have_their_examples() -> None:
    assert {"docs/providers.md"} <= {page for page, _ in policies()}
    assert {verdict for verdict, _, _ in asked()} == {"allow", "suppress", "refuse"}
    assert len(asked()) >= 15


@pytest.mark.parametrize(("page", "text"), policies())
def test_policy_of_the_page_loads(page: str, text: str) -> None:
    assert load_policy(text).tables, page


@pytest.mark.parametrize(("verdict", "code", "sql"), asked())
def test_query_of_the_page_gets_the_verdict_it_states(
    simulator: Simulator, verdict: str, code: str, sql: str
) -> None:
    answer = simulator.answer(sql, None, Session())

    assert answer["verdict"] == verdict
    codes = {reason["code"] for reason in answer["reasons"]}
    assert {code} <= codes if code else verdict != "refuse"


def test_tour_asks_what_the_demo_answers(tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    (text,) = re.findall(r"^   ```sql\n(.*?)^   ```", page, re.M | re.S)
    path = tmp_path / "machining.parquet"
    pq.write_table(pyarrow.csv.read_csv(io.BytesIO(machining_csv())), path)
    simulator, session = Simulator(load_policy(MACHINING), {"machining": path}), Session()

    asked = [sql for sql in text.split(";") if sql.strip()]
    answers = [simulator.answer(sql, None, session) for sql in asked]

    assert [answer["verdict"] for answer in answers] == ["allow"] * 3 + ["suppress"]


def test_policy_reference_has_every_key_and_word_of_version_1() -> None:
    page = (ROOT / "docs" / "providers.md").read_text("utf-8")
    page = page[page.index("## The policy document") : page.index("## What safe mode")]
    source = (ROOT / "policies" / "reading.py").read_text("utf-8")
    keys = {
        key
        for call in re.findall(r"\.only\(([^)]*)\)", source)
        for key in re.findall(r'"(\w+)"', call)
    }
    assert len(keys) > 25

    words = {*keys, *Role, *Aggregate, *Grain, *Mode, *Template}

    assert not {word for word in words if not re.search(rf"`[^`]*\b{word}\b[^`]*`", page)}


def test_model_builders_page_has_every_legal_basis() -> None:
    page = (ROOT / "docs" / "model-builders.md").read_text("utf-8")

    assert all(f"`{basis}`" in page for basis in LegalBasis.values)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_link_of_the_page_leads_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text("utf-8"))
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_command_of_the_page_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    django = set(get_commands()) | WITHOUT_DJANGO
    known = client_commands()

    for command in re.findall(r"\./bonded ([a-z]+)", text):
        assert command in root_commands(), command
    for command in re.findall(r"manage\.py ([a-z_]+)", text):
        assert command in django, command
    for command in re.findall(r"(?:`|^)bonded ([a-z]+)", text, re.M):
        assert command in known, command


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_option_of_a_client_command_exists(page: Path) -> None:
    known = client_commands()
    shown = "\n".join(blocks(page, "sh")).replace("\\\n", " ")

    for command, rest in re.findall(r"^bonded ([a-z]+)(.*)$", shown, re.M):
        options = set(re.findall(r"(?<=\s)--[a-z-]+", rest))
        assert options <= known[command], (command, options)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_option_of_a_node_command_exists(page: Path) -> None:
    shown = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    apps = get_commands()

    for command, rest in re.findall(r"manage\.py ([a-z_]+)(.*)$", shown, re.M):
        if command in WITHOUT_DJANGO:
            continue
        parser = load_command_class(apps[command], command).create_parser("", command)
        options = set(re.findall(r"(?<=\s)--[a-z-]+", rest))
        known = set(parser._option_string_actions)
        for act in parser._actions:
            if (
                isinstance(act, argparse._SubParsersAction)
                and rest.split()[0] in act.choices
            ):
                known |= set(act.choices[rest.split()[0]]._option_string_actions)
        assert options <= known, (command, options)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_names_no_place_of_ours(page: Path) -> None:
    # Paths of an installation (/etc, /opt, /var) are the reader's; these are nobody's.
    found = re.findall(
        r"(?<![\w.])/(?:work|tmp|home|root|Users)/\S*", page.read_text("utf-8")
    )

    assert not found


def test_threats_name_tests_that_exist() -> None:
    page = (ROOT / "docs" / "threats.md").read_text("utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)

    assert len(named) >= 15
    for path, test in named:
        source = (ROOT / path).read_text("utf-8")
        assert not test or f"def {test}(" in source, (path, test)


def test_decisions_are_all_in_the_index() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text("utf-8")

    missing = [page.name for page in folder.glob("0*.md") if f"({page.name})" not in index]

    assert not missing


def test_check_of_the_regulators_page_accepts_a_receipt_and_no_other(
    tmp_path: Path,
) -> None:
    page = ROOT / "docs" / "regulators.md"
    (program,) = [text for text in blocks(page, "python") if "Ed25519PublicKey" in text]
    script = tmp_path / "check.py"
    script.write_text(program, "utf-8")
    log = ledger.make_log(5)
    whole = log.receipt(2)
    paths = tmp_path / "receipt.json", tmp_path / "result.json"

    def accepts(receipt: Receipt, result: bytes = ledger.RESULT) -> bool:
        paths[0].write_bytes(dump_receipt(receipt))
        paths[1].write_bytes(result)
        command = [
            sys.executable,
            str(script),
            str(paths[0]),
            str(ledger.KEY),
            str(paths[1]),
        ]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert accepts(whole)
    assert not accepts(whole, ledger.RESULT + b" ")
    assert not accepts(replace(whole, index=1))
    assert not accepts(replace(whole, entry=log.entries[1]))
    assert not accepts(replace(whole, proof=whole.proof[:-1]))
    assert not accepts(replace(whole, checkpoint=log.note(4)))
    assert not accepts(replace(whole, checkpoint=by_a_stranger(log)))


def by_a_stranger(log: ledger.SignedLog) -> str:
    """The log's own checkpoint under its name, signed by a key of that name and not its."""
    key = SigningKey(ledger.SIGNER.name, bytes(range(2, 34)))
    return sign_checkpoint(log.checkpoint(), key)
