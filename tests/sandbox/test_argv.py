from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sandbox.argv import check_argv, is_interpreter, outside_path, read_request
from sandbox.types import SandboxRefusal

ENV = ("LANG", "TZ", "LD_PRELOAD", "PATH", "BASH_ENV", "https_proxy", "PYTHONPATH", "GIT_DIR")


def test_a_request_is_read_with_its_defaults() -> None:
    request = read_request({"command": "ls"}, allowed_env=ENV)

    assert (request.command, request.args, request.cwd, request.stdin, request.env) == ("ls", (), "", b"", {})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"command": ""}, "sandbox.input_invalid"),
        ({"command": 3}, "sandbox.input_invalid"),
        ({"command": "x" * 129}, "sandbox.input_invalid"),
        ({"command": "a\0b"}, "sandbox.input_nul"),
        ({"args": "ls"}, "sandbox.input_invalid"),
        ({"args": ["x"] * 65}, "sandbox.input_invalid"),
        ({"args": ["x" * 4_097]}, "sandbox.input_invalid"),
        ({"args": ["x" * 4_000] * 17}, "sandbox.input_invalid"),
        ({"args": ["a\0"]}, "sandbox.input_nul"),
        ({"args": [None]}, "sandbox.input_invalid"),
        ({"args": ["\ud800"]}, "sandbox.input_invalid"),
        ({"cwd": "x" * 1_025}, "sandbox.input_invalid"),
        ({"cwd": "/"}, "sandbox.cwd_outside"),
        ({"cwd": "a/../../b"}, "sandbox.cwd_outside"),
        ({"stdin": "x" * 65_537}, "sandbox.input_invalid"),
        ({"stdin": b"x"}, "sandbox.input_invalid"),
        ({"env": ["TZ"]}, "sandbox.input_invalid"),
        ({"env": {"TZ": 1}}, "sandbox.input_invalid"),
        ({"env": {"TZ": "x" * 4_097}}, "sandbox.input_invalid"),
        ({"env": {"TZ": "a\0"}}, "sandbox.input_nul"),
        ({"env": {"UNLISTED": "1"}}, "sandbox.env_refused"),
        ({"env": {"A=B": "1"}}, "sandbox.env_refused"),
        ({"env": {"LD_PRELOAD": "1"}}, "sandbox.env_refused"),
        ({"env": {"PATH": "1"}}, "sandbox.env_refused"),
        ({"env": {"BASH_ENV": "1"}}, "sandbox.env_refused"),
        ({"env": {"https_proxy": "1"}}, "sandbox.env_refused"),
        ({"env": {"PYTHONPATH": "1"}}, "sandbox.env_refused"),
        ({"env": {"GIT_DIR": "1"}}, "sandbox.env_refused"),
        ({"tier": "B"}, "sandbox.input_unknown_field"),
        ({"no_sandbox": True}, "sandbox.input_unknown_field"),
    ],
)
def test_a_misfit_input_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(SandboxRefusal) as refused:
        read_request({"command": "ls", **change}, allowed_env=ENV)
    assert refused.value.code == code


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists)))
def test_any_input_is_read_or_refused(value: dict[str, Any]) -> None:
    with contextlib.suppress(SandboxRefusal):
        read_request({"command": "ls", **value}, allowed_env=ENV)


@pytest.mark.parametrize("argv", [(), ("ls", 1), ("ls", "a\0"), tuple("x" * 66)])
def test_an_expanded_template_is_checked_too(argv: tuple[object, ...]) -> None:
    with pytest.raises(SandboxRefusal):
        check_argv(argv)


@pytest.mark.parametrize(
    "name",
    [
        *("sh", "bash", "python3.11", "python", "perl5.36.0", "lua5.4", "pypy3", "node-18", "gawk", "env"),
        *("xargs", "find", "busybox", "ld-linux-x86-64.so.2", "php8.2", "ssh"),
    ],
)
def test_interpreters_are_known_by_their_real_name(name: str) -> None:
    assert is_interpreter(name, b"\x7fELF")


def test_a_script_is_an_interpreter_and_a_plain_program_is_not() -> None:
    assert is_interpreter("tool", b"#!/bin/sh\n")
    assert not any(is_interpreter(name, b"\x7fELF") for name in ("ls", "cat", "sha256sum", "tool2"))


@pytest.mark.parametrize(
    "argument",
    [
        *("/root/x", "/home", "--file=/var/lib/x", "-f/srv/x", "@/home/x", "file:/root/x"),
        *("file:///root/x", "..", "../x", "a/../../x", "if=/home/x", "//root//x", "/./root"),
    ],
)
def test_a_path_on_the_host_is_named_early(argument: str) -> None:
    assert outside_path(["fine", argument], cwd="") == 1


@pytest.mark.parametrize(
    "argument",
    ["-la", "notes.txt", "/tmp/x", "/usr/bin/ls", "a/../b", "s/a/b/", "/abc/", "...", "a..b", "1/2"],
)
def test_other_arguments_pass(argument: str) -> None:
    assert outside_path([argument], cwd="") is None


def test_climbing_within_the_workspace_passes() -> None:
    assert outside_path(["../x"], cwd="sub") is None
    assert outside_path(["../../x"], cwd="sub") == 0
