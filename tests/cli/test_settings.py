"""Which server and which credential: flag, environment, profile, bootstrap file, default."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import given, strategies as st

from palyra_site.cli.failures import UsageError
from palyra_site.cli.settings import is_loopback, parse_origin
from tests.cli.shell import Shell, answer

ME = answer({"id": "usr_1"})
STORED = "plr_usr_" + "c" * 12 + "_" + "d" * 49


@pytest.fixture
def bare(shell: Shell) -> Shell:
    shell.environ = {}
    shell.replies = [ME]
    return shell


def bootstrap(home: Path, mode: int = 0o600, **values: object) -> None:
    folder = home / ".palyra"
    folder.mkdir()
    path = folder / "bootstrap.json"
    content = {"api_url": "http://127.0.0.1:8999", "owner_token": STORED, **values}
    path.write_text(json.dumps(content))
    path.chmod(mode)


def config(home: Path, text: str, mode: int = 0o600) -> Path:
    path = home / ".config" / "palyra" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_without_anything_the_default_server_is_asked_without_a_credential(bare: Shell) -> None:
    request = bare("whoami").requests[0]
    assert str(request.url) == "http://127.0.0.1:8470/api/v1/whoami"
    assert "Authorization" not in request.headers


def test_the_bootstrap_file_gives_server_and_token(bare: Shell) -> None:
    bootstrap(bare.home)
    request = bare("whoami").requests[0]
    assert (request.url.port, request.headers["Authorization"]) == (8999, f"Bearer {STORED}")


def test_palyra_home_names_the_bootstrap_file(bare: Shell, tmp_path: Path) -> None:
    bootstrap(bare.home)
    bare.environ = {"PALYRA_HOME": str(tmp_path / ".palyra")}
    bare.home = tmp_path / "elsewhere"
    assert bare("whoami").requests[0].headers["Authorization"] == f"Bearer {STORED}"


def test_a_stored_token_goes_to_its_own_server_only(bare: Shell) -> None:
    bootstrap(bare.home)
    assert "Authorization" not in bare("whoami", "--url", "http://127.0.0.1:9000").requests[0].headers


@pytest.mark.parametrize("url", ["https://palyra.example", "http://10.0.0.1:8470"])
def test_a_bootstrap_file_for_another_machine_is_not_used(bare: Shell, url: str) -> None:
    bootstrap(bare.home, api_url=url)
    request = bare("whoami").requests[0]
    assert (request.url.host, "Authorization" in request.headers) == ("127.0.0.1", False)


def test_a_bootstrap_file_others_can_read_is_refused(bare: Shell) -> None:
    bootstrap(bare.home, mode=0o644)
    result = bare("whoami")
    assert (result.code, result.requests) == (2, [])
    assert "chmod 600" in result.err


def test_the_environment_wins_over_the_bootstrap_file(bare: Shell) -> None:
    bootstrap(bare.home, mode=0o644)
    bare.environ = {"PALYRA_URL": "http://127.0.0.1:9001", "PALYRA_TOKEN": "plr_usr_env"}
    request = bare("whoami").requests[0]
    assert (request.url.port, request.headers["Authorization"]) == (9001, "Bearer plr_usr_env")


def test_a_flag_wins_over_the_environment(bare: Shell) -> None:
    bare.environ = {"PALYRA_URL": "http://127.0.0.1:9001", "PALYRA_TOKEN": "plr_usr_env"}
    assert bare("whoami", "--url", "http://127.0.0.1:9002").requests[0].url.port == 9002


def test_a_profile_gives_server_and_token_and_hides_the_bootstrap_file(bare: Shell) -> None:
    bootstrap(bare.home, mode=0o644)
    config(bare.home, '[profiles.prod]\nurl = "https://palyra.example"\ntoken_ref = "env:PROD_TOKEN"\n')
    bare.environ = {"PROD_TOKEN": "plr_usr_prod", "PALYRA_PROFILE": "prod"}
    request = bare("whoami").requests[0]
    assert (request.url.host, request.headers["Authorization"]) == ("palyra.example", "Bearer plr_usr_prod")


def test_a_token_file_of_a_profile(bare: Shell, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{STORED}\n")
    token.chmod(0o600)
    config(bare.home, f'[profiles.p]\nurl = "http://127.0.0.1:1"\ntoken_ref = "file:{token}"\n')
    assert bare("--profile", "p", "whoami").requests[0].headers["Authorization"] == f"Bearer {STORED}"
    token.chmod(0o640)
    assert bare("whoami", "--profile", "p").code == 2


def test_a_profile_token_does_not_follow_another_url(bare: Shell) -> None:
    config(bare.home, '[profiles.p]\nurl = "http://127.0.0.1:1"\ntoken_ref = "env:T"\n')
    bare.environ = {"T": STORED}
    request = bare("whoami", "--profile", "p", "--url", "http://127.0.0.1:2").requests[0]
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[profiles.p]\nurl = "http://127.0.0.1:1"\ntoken = "x"\n', "references only"),
        ('[profiles.p]\nurl = "http://127.0.0.1:1"\ntoken_ref = "literal"\n', "token_ref"),
        ('[profiles.p]\nurl = "http://127.0.0.1:1"\ncolour = "red"\n', "unknown keys: colour"),
        ('[profiles.p]\nurl = "http://127.0.0.1:1"\nrisk_level = "extreme"\n', "risk_level"),
        ('[profiles.p]\nurl = "http://127.0.0.1:1"\ncolor = 7\n', "must be text"),
        ("[profiles.p]\n", "no url"),
        ("profiles = 3\n", "no profile p"),
        ("[profiles.q]\n", "no profile p"),
        ("[profiles.p\n", "not TOML"),
    ],
)
def test_a_bad_config_is_refused_before_anything_is_sent(bare: Shell, text: str, said: str) -> None:
    config(bare.home, text)
    result = bare("whoami", "--profile", "p")
    assert (result.code, result.requests) == (2, [])
    assert said in result.err


def test_a_config_others_can_read_is_refused(bare: Shell) -> None:
    path = config(bare.home, "", mode=0o644)
    result = bare("whoami")
    assert result.code == 2
    assert f"hint: chmod 600 {path}" in result.err


def test_profiles_without_a_choice_are_refused(bare: Shell) -> None:
    config(bare.home, '[profiles.p]\nurl = "http://127.0.0.1:1"\n')
    assert bare("whoami").code == 2


def test_the_wrong_active_profile_is_refused(bare: Shell) -> None:
    config(bare.home, 'profile = "p"\n[profiles.p]\nurl = "http://127.0.0.1:1"\n')
    assert bare("whoami", "--expect-profile", "q").code == 2
    assert bare("whoami", "--expect-profile", "p").code == 0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "palyra.example",
        "ftp://127.0.0.1",
        "http://",
        "http://user:secret@127.0.0.1",
        "http://127.0.0.1/elsewhere",
        "http://127.0.0.1?x=1",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://exa mple",
        "http://-x",
        "http://a..b",
        "http://münchen.example",
        "http://[fe80::1%25eth0]",
    ],
)
def test_a_bad_server_address_is_refused(bare: Shell, url: str) -> None:
    result = bare("whoami", "--url", url)
    assert (result.code, result.requests) == (2, [])
    assert "secret" not in result.err


@pytest.mark.parametrize("url", ["http://palyra.example", "http://10.0.0.1:8470", "http://127.0.0.1.example"])
def test_plain_http_to_another_machine_needs_a_flag(bare: Shell, url: str) -> None:
    assert bare("whoami", "--url", url).code == 2
    warned = bare("whoami", "--url", url, "--insecure-http")
    assert (warned.code, "readable" in warned.err) == (0, True)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ü", "x" * 513])
def test_an_unusable_token_is_refused_and_not_repeated(bare: Shell, token: str) -> None:
    bare.environ = {"PALYRA_TOKEN": token}
    result = bare("whoami")
    assert result.code == 2
    assert token not in result.err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_bad_timeout_is_refused(bare: Shell, seconds: str) -> None:
    assert bare("whoami", "--timeout", seconds).code == 2


def test_origins() -> None:
    assert parse_origin("http://127.0.0.1:8470/api/v1/") == "http://127.0.0.1:8470"
    assert parse_origin("https://[::1]:1") == "https://[::1]:1"
    with pytest.raises(UsageError):
        parse_origin("http://127.0.0.1#x")


@given(st.text() | st.from_regex(r"https?://[a-z0-9.:@/?#%\\[\\]-]{0,20}"))
def test_any_text_is_refused_or_an_origin_that_can_be_asked(text: str) -> None:
    with suppress(UsageError):
        origin = parse_origin(text)
        url = httpx.URL(origin)
        assert url.path == "/"
        assert (url.userinfo, url.query, url.fragment) == (b"", b"", "")
        assert parse_origin(origin) == origin


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost", True),
        ("http://[::1]:1", True),
        ("http://127.9.9.9", True),
        ("http://0.0.0.0", False),
    ],
)
def test_loopback(origin: str, expected: bool) -> None:
    assert is_loopback(origin) is expected
