"""Transit keys, against a fake in every run and an OpenBao server where there is one."""

from __future__ import annotations

import base64
import dataclasses
import logging
import secrets
import ssl
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from exchange.keys.provider import (
    KEY_BYTES,
    KeyUnusable,
    MasterKeyMissing,
    ProviderDenied,
    ProviderMisconfigured,
    ProviderSealed,
    ProviderUnavailable,
    Wrapped,
    check_works,
)
from exchange.keys.transit import ATTEMPTS, TransitKeys, TransitSettings
from tests.factories.transit_fake import TransitFake, TransitKey
from tests.unit.exchange.keys.conftest import Engine
from tests.unit.exchange.keys.provider_contract import KeyProviderContract

KEY = b"k" * KEY_BYTES


def secret_file(place: Path, text: str) -> Path:
    place.write_text(text + "\n")
    place.chmod(0o600)
    return place


def settings_of(
    tmp_path: Path, engine: Engine | TransitFake, **more: Any
) -> TransitSettings:
    values = {"token_file": secret_file(tmp_path / "token", engine.token), **more}
    return TransitSettings(url=engine.url, timeout_seconds=2.0, **values)


class TestTransitFake(KeyProviderContract):
    @pytest.fixture
    def place(self, tmp_path: Path, fake: TransitFake) -> TransitSettings:
        return settings_of(tmp_path, fake)

    @pytest.fixture
    def provider(self, place: TransitSettings) -> TransitKeys:
        return TransitKeys(place)

    @pytest.fixture
    def another(self, place: TransitSettings) -> TransitKeys:
        return TransitKeys(place)


class TestOpenBao(KeyProviderContract):
    @pytest.fixture
    def place(self, tmp_path: Path, openbao: Engine) -> TransitSettings:
        name = f"key-{secrets.token_hex(4)}"
        made = openbao.ask("POST", f"transit/keys/{name}", {"derived": True})
        assert made.status_code == 200
        return settings_of(tmp_path, openbao, key=name)

    @pytest.fixture
    def provider(self, place: TransitSettings) -> TransitKeys:
        return TransitKeys(place)

    @pytest.fixture
    def another(self, place: TransitSettings) -> TransitKeys:
        return TransitKeys(place)

    def test_approle_with_the_policy_of_the_documents_is_enough(
        self, provider: TransitKeys, place: TransitSettings, openbao: Engine, tmp_path: Path
    ) -> None:
        page = Path(__file__).parents[4] / "docs" / "operators.md"
        policy = page.read_text().partition("```hcl\n")[2].partition("```")[0]
        openbao.ask(
            "PUT",
            "sys/policies/acl/bonded-node",
            {"policy": policy.replace("/bonded", f"/{place.key}")},
        )
        role = "auth/approle/role/bonded-node"
        openbao.ask("POST", role, {"token_policies": "bonded-node", "token_ttl": "1m"})
        role_id = openbao.ask("GET", f"{role}/role-id").json()["data"]["role_id"]
        secret_id = openbao.ask("POST", f"{role}/secret-id").json()["data"]["secret_id"]
        node = TransitKeys(
            dataclasses.replace(
                place,
                token_file=None,
                role_id_file=secret_file(tmp_path / "role", role_id),
                secret_id_file=secret_file(tmp_path / "secret", secret_id),
            )
        )

        old = node.wrap(KEY, context=b"c")
        node.rotate()
        node.retire(old.ref)

        check_works(node)
        export = openbao.ask("GET", f"transit/export/encryption-key/{place.key}")
        assert export.status_code == 400

    def test_key_that_was_deleted_is_missing(
        self, provider: TransitKeys, place: TransitSettings, openbao: Engine
    ) -> None:
        wrapped = provider.wrap(KEY, context=b"c")
        openbao.ask("POST", f"transit/keys/{place.key}/config", {"deletion_allowed": True})
        openbao.ask("DELETE", f"transit/keys/{place.key}")

        with pytest.raises(MasterKeyMissing):
            provider.unwrap(wrapped, context=b"c")
        with pytest.raises(MasterKeyMissing):
            _ = provider.current

    def test_token_of_another_policy_is_denied(
        self, place: TransitSettings, openbao: Engine
    ) -> None:
        made = openbao.ask("POST", "auth/token/create", {"policies": ["default"]})
        assert place.token_file is not None
        secret_file(place.token_file, made.json()["auth"]["client_token"])

        with pytest.raises(ProviderDenied):
            TransitKeys(place).wrap(KEY, context=b"c")


REQUESTS = [
    ("GET", "keys/{key}", None),
    ("GET", "keys/none", None),
    ("POST", "encrypt/{key}", {"plaintext": "a2tr", "context": "Yw=="}),
    ("POST", "encrypt/{key}", {"plaintext": "a2tr"}),
    ("POST", "decrypt/{key}", {"ciphertext": "vault:v1:AAAA", "context": "Yw=="}),
    ("POST", "decrypt/{key}", {"ciphertext": "vault:v9:AAAA", "context": "Yw=="}),
    ("POST", "decrypt/{key}", {"ciphertext": "x", "context": "Yw=="}),
    ("POST", "decrypt/{key}", {"ciphertext": "vault:v1:" + "A" * 40, "context": "Yw=="}),
    ("POST", "decrypt/none", {"ciphertext": "vault:v1:AAAA", "context": "Yw=="}),
    ("POST", "keys/{key}/rotate", None),
    ("POST", "keys/{key}/trim", {"min_available_version": 2}),
    (
        "POST",
        "keys/{key}/config",
        {"min_decryption_version": 2, "min_encryption_version": 2},
    ),
    ("POST", "keys/{key}/trim", {"min_available_version": 2}),
    ("GET", "keys/{key}", None),
    ("POST", "decrypt/{key}", {"ciphertext": "vault:v1:" + "A" * 40, "context": "Yw=="}),
]
TOLD = (
    *("type", "derived", "exportable", "latest_version", "key_version"),
    *("min_decryption_version", "min_encryption_version", "min_available_version"),
)


class TestWire:
    """The fake and the real server answer one sequence of requests alike."""

    def test_fake_agrees_with_the_server(self, fake: TransitFake, openbao: Engine) -> None:
        name = f"key-{secrets.token_hex(4)}"
        openbao.ask("POST", f"transit/keys/{name}", {"derived": True})
        stand_in = Engine(fake.url, fake.token)

        for method, path, body in REQUESTS:
            real = openbao.ask(method, "transit/" + path.format(key=name), body)
            mine = stand_in.ask(method, "transit/" + path.format(key="bonded"), body)

            assert mine.status_code == real.status_code, (path, body)
            assert mine.json().get("errors") == real.json().get("errors"), (path, body)
            data, own = (answer.json().get("data") or {} for answer in (real, mine))
            facts = [fact for fact in TOLD if fact in data]
            assert {f: own.get(f) for f in facts} == {f: data[f] for f in facts}, path
        denied = [
            engine.ask("GET", "transit/keys/" + key, token="wrong")
            for engine, key in ((openbao, name), (stand_in, "bonded"))
        ]
        assert [answer.status_code for answer in denied] == [403, 403]


@pytest.fixture
def keys(tmp_path: Path, fake: TransitFake) -> TransitKeys:
    return TransitKeys(settings_of(tmp_path, fake))


def test_sealed_provider_says_so_and_goes_on_afterwards(
    keys: TransitKeys, fake: TransitFake
) -> None:
    wrapped = keys.wrap(KEY, context=b"c")
    fake.sealed = True

    with pytest.raises(ProviderSealed) as caught:
        keys.unwrap(wrapped, context=b"c")

    assert caught.value.code == "key_provider_sealed"
    assert caught.value.hint
    fake.sealed = False
    assert keys.unwrap(wrapped, context=b"c") == KEY


@pytest.mark.parametrize("status", [429, 500, 502])
def test_failing_provider_is_asked_a_few_times(
    keys: TransitKeys, fake: TransitFake, status: int
) -> None:
    fake.failing = status

    with pytest.raises(ProviderUnavailable) as caught:
        keys.wrap(KEY, context=b"c")

    assert caught.value.code == "key_provider_unreachable"
    assert fake.asked == ATTEMPTS


def test_provider_that_mends_meanwhile_is_not_noticed(
    keys: TransitKeys, fake: TransitFake
) -> None:
    fake.failing = 500
    mending = threading.Timer(0.3, lambda: setattr(fake, "failing", 0))
    mending.start()

    assert keys.unwrap(keys.wrap(KEY, context=b"c"), context=b"c") == KEY


def test_provider_that_hangs_is_given_up(tmp_path: Path, fake: TransitFake) -> None:
    keys = TransitKeys(
        dataclasses.replace(settings_of(tmp_path, fake), timeout_seconds=0.2)
    )
    fake.slow_seconds = 5

    began = time.monotonic()
    with pytest.raises(ProviderUnavailable):
        keys.wrap(KEY, context=b"c")

    assert time.monotonic() - began < 4


def test_provider_that_is_away_and_comes_back(tmp_path: Path, fake: TransitFake) -> None:
    place = settings_of(tmp_path, fake)
    away = TransitKeys(dataclasses.replace(place, url="http://127.0.0.1:9"))

    with pytest.raises(ProviderUnavailable) as caught:
        away.wrap(KEY, context=b"c")

    assert caught.value.code == "key_provider_unreachable"


def test_key_that_is_not_there_is_missing(tmp_path: Path, fake: TransitFake) -> None:
    keys = TransitKeys(settings_of(tmp_path, fake, key="none"))

    for ask in (lambda: keys.wrap(KEY, context=b"c"), lambda: keys.current, keys.rotate):
        with pytest.raises(MasterKeyMissing):
            ask()


@pytest.mark.parametrize("unfit", [{"derived": False}, {"exportable": True}])
def test_key_of_an_unfit_kind_is_refused(
    keys: TransitKeys, fake: TransitFake, unfit: dict[str, bool]
) -> None:
    fake.keys["bonded"] = TransitKey(**unfit)

    with pytest.raises(ProviderMisconfigured):
        _ = keys.current


def test_token_that_was_replaced_is_read_anew(
    tmp_path: Path, keys: TransitKeys, fake: TransitFake
) -> None:
    keys.wrap(KEY, context=b"c")
    fake.token = "s.another"
    with pytest.raises(ProviderDenied):
        keys.wrap(KEY, context=b"c")

    secret_file(tmp_path / "token", fake.token)

    assert keys.unwrap(keys.wrap(KEY, context=b"c"), context=b"c") == KEY


def test_approle_signs_in_and_again_when_its_token_expired(
    tmp_path: Path, fake: TransitFake
) -> None:
    place = settings_of(
        tmp_path,
        fake,
        token_file=None,
        role_id_file=secret_file(tmp_path / "role", fake.role_id),
        secret_id_file=secret_file(tmp_path / "secret", fake.secret_id),
    )
    keys = TransitKeys(place)
    wrapped = keys.wrap(KEY, context=b"c")
    fake.token = "s.expired-meanwhile"

    assert keys.unwrap(wrapped, context=b"c") == KEY

    secret_file(tmp_path / "secret", "wrong")
    fake.token = "s.expired-again"
    with pytest.raises(ProviderDenied):
        keys.unwrap(wrapped, context=b"c")


def test_node_that_was_given_no_credential_is_misconfigured(fake: TransitFake) -> None:
    with pytest.raises(ProviderMisconfigured):
        TransitKeys(TransitSettings(url=fake.url)).wrap(KEY, context=b"c")


def test_environment_gives_no_token_and_no_proxy(
    keys: TransitKeys, fake: TransitFake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", fake.token)
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert keys.unwrap(keys.wrap(KEY, context=b"c"), context=b"c") == KEY
    secret_file(tmp_path / "token", "s.wrong")
    with pytest.raises(ProviderDenied):
        TransitKeys(settings_of(tmp_path, Engine(fake.url, "s.wrong"))).current  # noqa: B018 - asked for its error


def test_redirect_is_not_followed(keys: TransitKeys, fake: TransitFake) -> None:
    fake.failing = 307

    with pytest.raises(ProviderUnavailable):
        keys.wrap(KEY, context=b"c")


def test_ref_of_another_key_mount_or_form_is_refused_unasked(
    keys: TransitKeys, fake: TransitFake
) -> None:
    wrapped = keys.wrap(KEY, context=b"c")
    asked = fake.asked

    for ref in (
        "transit/transit/other/1",
        "transit/kv/bonded/1",
        "transit/transit/bonded/x",
    ):
        with pytest.raises(KeyUnusable):
            keys.unwrap(Wrapped(wrapped.blob, ref), context=b"c")
    assert fake.asked == asked


def test_token_and_key_stand_in_no_message_or_log(
    keys: TransitKeys, fake: TransitFake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrapped = keys.wrap(KEY, context=b"c")
    said = repr(keys) + repr(wrapped.ref)

    for fault in ({"sealed": True}, {"failing": 500}, {"token": "s.other"}):
        kept = {name: getattr(fake, name) for name in fault}
        for name, value in fault.items():
            setattr(fake, name, value)
        for ask in (
            lambda: keys.wrap(KEY, context=b"c"),
            lambda: keys.unwrap(wrapped, context=b"d"),
        ):
            with pytest.raises(ProviderUnavailable) as caught:
                ask()
            said += "".join(traceback.format_exception(caught.value)) + caught.value.hint
        for name, value in kept.items():
            setattr(fake, name, value)

    said += caplog.text
    assert "s.fake" not in said
    for form in (KEY.decode(), KEY.hex(), base64.b64encode(KEY).decode()):
        assert form not in said.replace("KEY", "")


@pytest.fixture
def encrypted(fake: TransitFake, tmp_path: Path) -> tuple[str, Path]:
    """The fake behind TLS under an authority of the test's own; its address and CA file."""
    certificate, key = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = fake._server
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return fake.url.replace("http://", "https://"), certificate


def test_certificate_of_the_named_authority_holds_and_no_other(
    fake: TransitFake, tmp_path: Path, encrypted: tuple[str, Path]
) -> None:
    url, authority = encrypted
    place = dataclasses.replace(settings_of(tmp_path, fake), url=url)

    trusted = TransitKeys(dataclasses.replace(place, ca_file=authority))
    assert trusted.unwrap(trusted.wrap(KEY, context=b"c"), context=b"c") == KEY
    with pytest.raises(ProviderMisconfigured) as caught:
        TransitKeys(place).wrap(KEY, context=b"c")
    assert "BONDED_TRANSIT_CA_FILE" in caught.value.hint


def _self_signed(folder: Path) -> tuple[Path, Path]:
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keys.localhost")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "ca.key").write_bytes(
        key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "ca.pem", folder / "ca.key"
