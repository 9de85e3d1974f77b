"""Logging in and out: where the token goes, where it never goes, and what the config says after."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.errors import KeyringError, PasswordDeleteError

from palyra_site.cli.credentials import system_keyring
from tests.cli.shell import TOKEN, Shell, answer, problem

ME = answer({"id": "usr_1", "object": "principal", "token_id": "tok_1"})
OTHER = "plr_usr_" + "c" * 12 + "_" + "d" * 49
URL = "http://127.0.0.1:8470"


class Ring:
    """A keyring that works, or one that is locked."""

    def __init__(self, *, locked: bool = False) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = locked

    def get_password(self, service: str, username: str, /) -> str | None:
        self._open()
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str, /) -> None:
        self._open()
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str, /) -> None:
        self._open()
        if self.kept.pop((service, username), None) is None:
            raise PasswordDeleteError

    def _open(self) -> None:
        if self.locked:
            raise KeyringError


@pytest.fixture
def person(shell: Shell) -> Shell:
    """A terminal at which the token is typed; a server that knows it."""
    shell.environ, shell.terminal, shell.secrets, shell.replies = {}, True, [TOKEN], [ME]
    return shell


def config_of(shell: Shell) -> dict[str, Any]:
    return tomllib.loads(path_of(shell).read_text())


def path_of(shell: Shell) -> Path:
    return shell.home / ".config" / "palyra" / "config.toml"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_config(shell: Shell, text: str) -> Path:
    path = path_of(shell)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_token_is_tried_and_then_kept_in_a_file_that_only_its_owner_reads(person: Shell) -> None:
    result = person("login", "--json")
    assert (result.code, result.out) == (0, ME.text + "\n")
    assert result.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
    kept = path_of(person).parent / "tokens" / "default"
    assert config_of(person) == {
        "profile": "default",
        "profiles": {"default": {"url": URL, "token_ref": f"file:{kept}"}},
    }
    assert kept.read_text() == f"{TOKEN}\n"
    assert [mode(path) for path in (kept, kept.parent, path_of(person))] == [0o600, 0o700, 0o600]
    assert TOKEN not in result.out + result.err + path_of(person).read_text()
    assert person("whoami").requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_keyring_is_preferred_and_leaves_no_file(person: Shell) -> None:
    person.keyring = ring = Ring()
    assert "kept in the keyring" in person("login", "--profile", "prod").err
    assert ring.kept == {("palyra", "prod"): TOKEN}
    assert config_of(person)["profiles"]["prod"]["token_ref"] == "keyring:palyra/prod"
    assert not (path_of(person).parent / "tokens").exists()
    assert person("whoami").requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_locked_keyring_is_no_keyring_to_keep_and_an_error_to_read(person: Shell) -> None:
    person.keyring = Ring(locked=True)
    assert person("login").code == 0
    assert config_of(person)["profiles"]["default"]["token_ref"].startswith("file:")
    write_config(person, f'profile = "p"\n[profiles.p]\nurl = "{URL}"\ntoken_ref = "keyring:palyra/p"\n')
    result = person("whoami")
    assert (result.code, result.requests, "does not open" in result.err) == (2, [], True)
    person.keyring = None
    assert "there is none here" in person("whoami").err


@pytest.mark.parametrize(("priority", "trusted"), [(5.0, True), (1.0, True), (0.5, False), (0.0, False)])
def test_only_a_keyring_worth_the_name_is_used(
    monkeypatch: pytest.MonkeyPatch, priority: float, trusted: bool
) -> None:
    class Backend:
        """Below 1 are plain files and the placeholder for no keyring at all."""

    made = Backend()
    monkeypatch.setattr(made, "priority", priority, raising=False)
    monkeypatch.setattr(keyring, "get_keyring", lambda: made)
    assert (system_keyring() is not None) is trusted


def test_a_token_comes_from_standard_input_where_nobody_can_be_asked(person: Shell) -> None:
    person.terminal, person.typed = False, f"{TOKEN}\nrest"
    assert person("login", "--token-stdin", "-q").out == "usr_1\n"
    assert person("whoami").requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_without_a_person_or_input_nothing_is_sent(person: Shell) -> None:
    for terminal, extra in ((False, ()), (True, ("--no-input",))):
        person.terminal = terminal
        result = person("login", *extra)
        assert (result.code, result.requests) == (2, [])
        assert "--token-stdin" in result.err


@pytest.mark.parametrize("typed", ["", "hunter2 is my password", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper()])
def test_what_is_no_token_reaches_no_server_and_is_not_repeated(person: Shell, typed: str) -> None:
    person.secrets = [typed]
    result = person("login")
    assert (result.code, result.requests) == (2, [])
    assert not typed or typed not in result.err
    assert not path_of(person).exists()


@pytest.mark.parametrize(
    ("reply", "code"), [(problem(401, "unauthenticated"), 3), (problem(503, "not_ready"), 4)]
)
def test_a_token_that_was_not_accepted_is_not_kept(person: Shell, reply: Any, code: int) -> None:
    person.replies = [reply]
    assert person("login").code == code
    assert not path_of(person).parent.exists()


def test_a_second_login_replaces_the_token_and_leaves_the_rest_of_the_config(person: Shell) -> None:
    text = f'# mine\nprofile = "p"\n\n[profiles.p]\nurl = "{URL}"  # here\nrisk_level = "high"\n'
    path = write_config(person, text)
    person("login")
    person.keyring, person.secrets = Ring(), [OTHER]
    person("login")
    assert path.read_text() == f'{text}token_ref = "keyring:palyra/p"\n'
    assert list((path.parent / "tokens").iterdir()) == []


def test_a_profile_is_never_turned_to_another_server(person: Shell) -> None:
    path = write_config(person, f'profile = "p"\n[profiles.p]\nurl = "{URL}"\n')
    before = path.read_text()
    result = person("login", "--url", "http://127.0.0.1:9000", "--json")
    assert (result.code, result.requests, path.read_text()) == (2, [], before)
    other = person("login", "--url", "http://127.0.0.1:9000", "--profile", "q")
    assert (other.code, "palyra profiles use q" in other.err) == (0, True)
    assert config_of(person)["profile"] == "p"


def test_the_token_of_another_profile_is_not_sent_while_logging_in(person: Shell) -> None:
    person("login")
    person.secrets = [OTHER]
    result = person("login", "--url", "http://127.0.0.1:9000", "--profile", "q")
    assert result.requests[0].headers["Authorization"] == f"Bearer {OTHER}"


@pytest.mark.parametrize("name", ["none", "../x", ".x", "a b", "x" * 65, "a/b"])
def test_a_bad_profile_name_is_refused(person: Shell, name: str) -> None:
    result = person("login", "--profile", name)
    assert (result.code, result.requests) == (2, [])


def test_an_unexpected_profile_is_refused(person: Shell) -> None:
    assert person("login", "--expect-profile", "prod").code == 2
    assert person("login", "--profile", "prod", "--expect-profile", "prod").code == 0
    assert person("logout", "--expect-profile", "default").code == 2


def test_plain_http_to_another_machine_is_refused(person: Shell) -> None:
    result = person("login", "--url", "http://palyra.example")
    assert (result.code, result.requests) == (2, [])


def test_a_config_that_others_can_read_is_refused(person: Shell) -> None:
    write_config(person, "").chmod(0o644)
    for command in (("login",), ("logout",), ("profiles", "list"), ("profiles", "use", "p")):
        result = person(*command)
        assert (result.code, result.requests, "chmod 600" in result.err) == (2, [], True)


def test_logout_removes_the_token_and_keeps_the_server(person: Shell) -> None:
    person("login")
    result = person("logout")
    assert (result.code, result.out, result.requests) == (0, "", [])
    assert config_of(person)["profiles"] == {"default": {"url": URL}}
    assert list((path_of(person).parent / "tokens").iterdir()) == []
    assert "Authorization" not in person("whoami").requests[0].headers
    assert person("logout").code == 0


def test_logout_empties_the_keyring(person: Shell) -> None:
    person.keyring = ring = Ring()
    person("login")
    assert person("logout").code == 0
    assert ring.kept == {}


def test_logout_leaves_what_login_did_not_keep(person: Shell) -> None:
    own = person.home / "own"
    own.write_text(TOKEN)
    write_config(person, f'profile = "p"\n[profiles.p]\nurl = "{URL}"\ntoken_ref = "file:{own}"\n')
    assert "stays in" in person("logout").err
    assert own.read_text() == TOKEN


def test_logout_can_revoke_the_profile_s_own_token(person: Shell) -> None:
    person("login")
    person.environ = {"PALYRA_TOKEN": OTHER}
    person.replies = [ME, answer({"id": "tok_1", "state": "revoked"})]
    result = person("logout", "--revoke", "--yes")
    assert result.sent == ["GET /api/v1/whoami", "POST /api/v1/tokens/tok_1/revoke"]
    assert {request.headers["Authorization"] for request in result.requests} == {f"Bearer {TOKEN}"}
    assert "token_ref" not in config_of(person)["profiles"]["default"]


def test_a_token_that_could_not_be_revoked_is_kept(person: Shell) -> None:
    person("login")
    person.replies = [ME, problem(503, "database_unavailable")]
    assert person("logout", "--revoke", "--yes").code == 4
    person.typed = "n\n"
    person.replies = [ME]
    assert person("logout", "--revoke").code == 2
    assert "token_ref" in config_of(person)["profiles"]["default"]
    person.replies = [problem(401, "unauthenticated")]
    assert person("logout", "--revoke").code == 0
    assert "token_ref" not in config_of(person)["profiles"]["default"]


def test_logout_without_a_profile_is_two(person: Shell) -> None:
    assert person("logout").code == 2
