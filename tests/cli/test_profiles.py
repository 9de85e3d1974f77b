"""The config file as the commands change it: by name, and without touching what a person wrote."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from palyra_site.cli.config_file import drop_table, set_keys
from palyra_site.cli.failures import UsageError
from tests.cli.shell import TOKEN, Shell

URL = "https://palyra.example.com"


@pytest.fixture
def bare(shell: Shell) -> Shell:
    shell.environ = {}
    return shell


def file_of(shell: Shell, text: str = "") -> Path:
    path = shell.home / ".config" / "palyra" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_profiles_are_added_chosen_listed_and_removed(bare: Shell) -> None:
    assert bare("profiles", "add", "prod", "--url", URL, "--risk-level", "high").code == 0
    assert bare("profiles", "add", "test", "--url", "http://127.0.0.1:1").code == 0
    assert bare("profiles", "use", "prod").code == 0
    assert bare("profiles", "list").out.splitlines() == [
        "name\tactive\turl\trisk_level\ttoken",
        f"prod\ttrue\t{URL}\thigh\t",
        "test\tfalse\thttp://127.0.0.1:1\tlow\t",
    ]
    assert bare("profiles", "remove", "prod", "--yes").code == 0
    path = bare.home / ".config" / "palyra" / "config.toml"
    assert tomllib.loads(path.read_text()) == {
        "profiles": {"test": {"url": "http://127.0.0.1:1", "risk_level": "low"}}
    }


def test_removing_a_profile_removes_the_token_kept_for_it(bare: Shell) -> None:
    path = file_of(bare)
    kept = path.parent / "tokens" / "p"
    kept.parent.mkdir()
    kept.write_text(TOKEN)
    path.write_text(f'[profiles.p]\nurl = "{URL}"\ntoken_ref = "file:{kept}"\n')
    assert bare("profiles", "remove", "p", "--yes").code == 0
    assert not kept.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "p", "--url", URL),
        ("add", "q"),
        ("add", "none", "--url", URL),
        ("add", "../q", "--url", URL),
        ("add", "q", "--url", "http://palyra.example.com"),
        ("add", "q", "--url", f"{URL}/path"),
        ("use", "q"),
        ("remove", "q", "--yes"),
        ("remove", "p"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(bare: Shell, arguments: tuple[str, ...]) -> None:
    text = f'[profiles.p]\nurl = "{URL}"\n'
    path = file_of(bare, text)
    assert bare("profiles", *arguments).code == 2
    assert path.read_text() == text


def test_the_question_before_a_removal_names_a_risky_profile(bare: Shell) -> None:
    path = file_of(bare, f'[profiles.p]\nurl = "{URL}"\nrisk_level = "high"\n')
    bare.terminal, bare.typed = True, "\n"
    result = bare("profiles", "remove", "p")
    assert (result.code, "[p] Remove profile p" in result.err) == (2, True)
    assert "[profiles.p]" in path.read_text()


COMMENTED = """# servers
profile = "a" # the usual one

[profiles.a] # ours
# risky
url = "https://a.example"
risk_level = "high"

[profiles."b.c"]
url = 'https://b.example'
"""


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_comments_and_other_tables_stay(tmp_path: Path) -> None:
    path = private(tmp_path / "c", COMMENTED)
    set_keys(path, ("profiles", "a"), {"token_ref": "env:A", "risk_level": None})
    set_keys(path, ("profiles", "b.c"), {"color": 're"d\\'})
    set_keys(path, (), {"profile": "b.c"})
    assert (
        path.read_text()
        == """# servers
profile = "b.c"

[profiles.a] # ours
# risky
url = "https://a.example"
token_ref = "env:A"

[profiles."b.c"]
url = 'https://b.example'
color = "re\\"d\\\\"
"""
    )
    drop_table(path, ("profiles", "a"))
    assert tomllib.loads(path.read_text())["profiles"].keys() == {"b.c"}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [
        'profiles.a.url = "https://a.example"\n',
        'profiles = { a = { url = "https://a.example" } }\n',
        '[profiles]\na = { url = "https://a.example" }\n',
        '[profiles.a]\n"risk_level" = "high"\nurl = """\n[profiles.a]\nrisk_level = "low"\n"""\n',
    ],
)
def test_a_file_in_a_form_not_edited_here_is_left_alone(tmp_path: Path, text: str) -> None:
    path = private(tmp_path / "c", text)
    with pytest.raises(UsageError, match="by hand"):
        set_keys(path, ("profiles", "a"), {"risk_level": "low"})
    assert path.read_text() == text


def test_a_value_that_is_no_printable_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        set_keys(tmp_path / "c", (), {"profile": "a\x7fb"})
    assert not (tmp_path / "c").exists()


def test_a_linked_config_stays_a_link(tmp_path: Path) -> None:
    real = private(tmp_path / "real", "")
    (tmp_path / "link").symlink_to(real)
    set_keys(tmp_path / "link", (), {"profile": "a"})
    assert (tmp_path / "link").is_symlink()
    assert real.read_text() == 'profile = "a"\n'


_NAMES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=_NAMES, values=st.dictionaries(st.sampled_from(["url", "color", "token_ref"]), _NAMES))
def test_any_name_and_value_read_back_and_can_be_dropped(
    tmp_path: Path, name: str, values: dict[str, str]
) -> None:
    path = private(tmp_path / "c", COMMENTED)
    set_keys(path, ("profiles", name), values)
    assert tomllib.loads(path.read_text())["profiles"][name].items() >= values.items()
    drop_table(path, ("profiles", name))
    assert name not in tomllib.loads(path.read_text())["profiles"]
