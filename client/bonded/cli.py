"""`bonded`: the client on the command line."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bonded.arguments import add_commands
from bonded.config import (
    TOKEN_VARIABLE,
    Config,
    checked_url,
    config_path,
    read_config,
    write_config,
)
from bonded.errors import (
    BondedError,
    ConfigInvalid,
    IntegrityFailed,
    NotAllowed,
    NotSignedIn,
    QueryRefused,
    StillWaiting,
    Unreachable,
)
from bonded.terminal import say, say_json
from bonded.transport import Transport
from bonded.verify import KEY_VARIABLE, add_verify_command

DONE, REFUSED, USAGE, NOT_SIGNED_IN, UNREACHABLE, WAITING = range(6)
EPILOG = """\
exit codes: 0 done; 1 refused or failed; 2 wrong use; 3 not signed in or not allowed;
4 the node does not answer; 5 still waiting at the node

settings: `bonded login` keeps address, token and the log's key in a file that only you can
read; BONDED_URL and BONDED_TOKEN replace them. SQL may be `-` (read from the standard
input) or `@FILE`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code says how it ended (see EPILOG)."""
    arguments = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int | None] = arguments.run
    try:
        return run(arguments) or DONE
    except BondedError as error:
        _report(error, as_json=getattr(arguments, "json", False))
        return _exit_code(error)
    except BrokenPipeError:
        # The reader of our output went away (`bonded ... | head`); nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        say("interrupted; what was submitted goes on at the node", out=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="bonded",
        description="Find labelled data, ask, fetch and verify at a Bonded node.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    login = subparsers.add_parser("login", help="keep an address and a token")
    login.add_argument(
        "url", metavar="URL", help="for example https://exchange.example.org"
    )
    login.add_argument(
        "--token-stdin", action="store_true", help="read the token from the standard input"
    )
    login.add_argument(
        "--accept-new-key",
        action="store_true",
        help="pin the log key that the node shows now",
    )
    login.add_argument("--json", action="store_true", help="print JSON")
    login.set_defaults(run=run_login)
    add_commands(subparsers)
    add_verify_command(subparsers)
    verify = subparsers.choices["verify"]
    verify.set_defaults(run=_with_pinned_key(verify.get_default("run")))
    return parser


def run_login(arguments: argparse.Namespace) -> None:
    """Address, token and log key are kept, after the node has accepted the token."""
    url, path = checked_url(arguments.url), config_path()
    token = _read_token(from_stdin=arguments.token_stdin)
    transport = Transport(Config(url=url, token=token))
    try:
        me = transport.get("me")
        key = transport.text("log/key").strip()
    finally:
        transport.close()
    _check_pinned(path, url=url, key=key, accept_new=arguments.accept_new_key)
    write_config(path, Config(url=url, token=token, verifier_key=key))
    if arguments.json:
        say_json({"me": me, "verifier_key": key, "config": str(path)})
        return
    say(
        f"Signed in to {url} as {me.get('name')}.",
        f"The node's log is checked with the key {key}",
        "  → compare it with what its operator or the regulator publishes.",
        f"Kept in {path}, readable by you only.",
    )


def _read_token(*, from_stdin: bool) -> str:
    if from_stdin:
        token = sys.stdin.readline()
    else:
        token = os.environ.get(TOKEN_VARIABLE) or getpass.getpass("Token (not shown): ")
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigInvalid(
            "that is no token",
            hint="make one on the node's page Tokens; it begins with bnd_",
        )
    return token


def _check_pinned(path: Path, *, url: str, key: str, accept_new: bool) -> None:
    stored = read_config(path)
    pinned = stored.verifier_key if stored is not None and stored.url == url else ""
    if pinned and pinned != key and not accept_new:
        raise IntegrityFailed(
            "the node shows another log key than the one that was pinned",
            hint="ask its operator why; if the reason holds, add --accept-new-key",
        )


def _with_pinned_key(
    run: Callable[[argparse.Namespace], int],
) -> Callable[[argparse.Namespace], int]:
    def verify(arguments: argparse.Namespace) -> int:
        if not arguments.key and not os.environ.get(KEY_VARIABLE):
            stored = read_config(config_path())
            arguments.key = stored.verifier_key if stored is not None else None
        return run(arguments)

    return verify


def _report(error: BondedError, *, as_json: bool) -> None:
    if as_json:
        document: dict[str, object] = {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
        }
        if isinstance(error, QueryRefused):
            document["reasons"] = error.reasons
        say_json({"error": document})
        return
    say(f"{error.message} [{error.code}]", out=sys.stderr)
    if error.hint:
        say(f"  → {error.hint}", out=sys.stderr)


def _exit_code(error: BondedError) -> int:
    codes: dict[type[BondedError], int] = {
        ConfigInvalid: USAGE,
        NotSignedIn: NOT_SIGNED_IN,
        NotAllowed: NOT_SIGNED_IN,
        Unreachable: UNREACHABLE,
        StillWaiting: WAITING,
    }
    return codes.get(type(error), REFUSED)


if __name__ == "__main__":
    sys.exit(main())
