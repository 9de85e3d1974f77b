"""Which other argument vectors an approved one stands for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from approvals.commands import Argv, accepts, is_within, may_generalise
from approvals.patterns import matches, narrower_or_equal
from kernel.errors import InvalidError
from tests.approvals.shapes import RUN, bound, custom, text

UNDER = ("src", "app")


@pytest.mark.parametrize(
    ("approved", "sent", "covered"),
    [
        ("-l src/app/a", "-l src/app/b", True),
        ("-l src/app/a", "-l ./src/app//deep/b", True),
        ("-l src/app/a src/app/b", "-l src/app/c", True),
        ("-l src/app/a", "-l src/app/b src/app/c", False),
        ("-l src/app/a", "-l", False),
        ("-l src/app/a", "src/app/b", False),
        ("-l src/app/a", "-c src/app/b", False),
        ("-l src/app/a", "-l -c src/app/b", False),
        ("-l src/app/a", "src/app/b -l", False),
        ("-l src/app/a", "-l src/app", False),
        ("-l src/app/a", "-l src/application/a", False),
        ("-l src/app/a", "-l src/app/../etc", False),
        ("-l src/app/a", "-l /src/app/a", False),
        ("-l src/app/a", "-l src/app/a:/etc", False),
        ("-l src/app/a", "-l src/app/a,/etc", False),
        ("-l src/app/a", "-l src/app/x=../../etc", False),
        ("-rf src/app/a", "-r src/app/a", False),
        ("-rf src/app/a", "-fr src/app/a", False),
        ("--x=1 src/app/a", "--x=2 src/app/a", False),
        ("--x=1 src/app/a", "--x 1 src/app/a", False),
        ("--x=1 src/app/a", "src/app/a", False),
        ("--dry-run src/app/a", "src/app/b", False),
        ("--namespace test src/app/a", "test src/app/a", False),
        ("-o out.txt src/app/a", "-o src/app/a", False),
        ("-o src/app/out src/app/in", "src/app/out -o src/app/in", False),
        ("--recursive --force src/app/a", "--recursive src/app/b", True),
        ("--recursive --force src/app/a", "src/app/b", True),
        ("--recursive --force src/app/a", "--force --recursive src/app/b", False),
        ("--recursive src/app/a", "--recursive --recursive src/app/a", False),
        ("src/app/a out.txt", "src/app/b out.txt", True),
        ("src/app/a out.txt", "out.txt src/app/a", False),
        ("src/app/a out.txt", "src/app/b", False),
        ("src/app/a out.txt", "src/app/b other.txt", False),
        ("out.txt src/app/a src/app/b", "out.txt src/app/c", True),
        ("-- src/app/a", "-- src/app/b", True),
        ("-- src/app/a", "src/app/b", False),
        ("src/app/a", "-- src/app/a", False),
        ("-- --force src/app/a", "-- src/app/a", False),
        ("-e x src/app/a", "-e y src/app/a", False),
    ],
)
def test_other_files_may_stand_where_approved_ones_stood(approved: str, sent: str, covered: bool) -> None:
    argv = Argv(tuple(approved.split()), UNDER)
    assert accepts(argv, approved.split())
    assert accepts(argv, sent.split()) is covered


@pytest.mark.parametrize(
    "value", [None, "src/app/a", ["src/app/a", 1], {"0": "src/app/a"}, ["src/app/a\0"], ["x"] * 65]
)
def test_what_is_no_argument_vector_is_not_covered(value: object) -> None:
    assert not accepts(Argv(("src/app/a",), UNDER), value)


words = st.sampled_from(
    ["--force", "--verbose", "-l", "--", "x", "src/a", "src/app/a", "src/app/b", "src/lib/c"]
)
vectors = st.lists(words, max_size=4)
directories = st.sampled_from([None, ("src",), ("src", "app"), ("src", "lib")])


@settings(max_examples=400, deadline=None)
@given(vectors, directories, vectors, directories, st.lists(vectors, max_size=6))
def test_a_vector_within_another_stands_for_no_more(
    one: list[str],
    under: tuple[str, ...] | None,
    other: list[str],
    its: tuple[str, ...] | None,
    sent: list[list[str]],
) -> None:
    a, b = Argv(tuple(one), under), Argv(tuple(other), its)
    assert accepts(a, one)
    assert is_within(a, a)
    assert is_within(Argv(tuple(one)), Argv(tuple(one), under))
    if is_within(a, b):
        assert all(accepts(b, vector) for vector in [one, *sent] if accepts(a, vector))
    for vector in sent:
        if accepts(a, vector):
            assert len(vector) <= len(one)
            assert {word for word in vector if word.startswith("-")} <= set(one)


RUNNERS = [
    "sh",
    "bash",
    "dash",
    "zsh",
    "env",
    "xargs",
    "sudo",
    "nice",
    "timeout",
    "find",
    "git",
    "ssh",
    "make",
    "npm",
    "npx",
    "pip",
    "python",
    "python3",
    "python3.11",
    "perl",
    "ruby",
    "node",
    "awk",
    "sed",
    "pip3",
    "perl5.36",
    "/usr/bin/env",
    "/bin/bash",
    "bash.exe",
    "BASH",
    "gawk",
    "busybox",
    "docker",
    "kubectl",
    "tar",
    "pytest",
    "git-upload-pack",
    "ld-linux-x86-64.so.2",
    "php8.2",
    "node18",
    "lua5.4",
    "less",
    "vim",
]


@pytest.mark.parametrize("program", RUNNERS)
def test_programs_that_run_others_never_generalise(program: str) -> None:
    assert not may_generalise(program)
    asked = {"command": program, "args": ["-v", "src/a"], "cwd": "src/app", "timeout_ms": 1000}
    for constraint in (
        ("/args", "argv", {"under": "src"}),
        ("/args", "argv", None),
        ("/args/1", "one_of", ["src/a", "src/b"]),
        ("/cwd", "path_prefix", "src"),
        ("/timeout_ms", "lte", 5000),
        ("/command", "one_of", [program, "wc"]),
    ):
        with pytest.raises(InvalidError) as refused:
            bound(asked, RUN, constraint)
        assert refused.value.code == "pattern_too_broad"
    assert bound(asked, RUN, ("/timeout_ms", "equals", 1000)).is_exact


@pytest.mark.parametrize("program", ["wc", "ls", "/usr/bin/wc", "cat", "grep", "rm"])
def test_a_plain_program_generalises(program: str) -> None:
    assert may_generalise(program)


@pytest.mark.parametrize(
    "program", ["", "./wc", "bin/wc", "/tmp/../bin/wc", "-c", ".x", "w c", "wç", None, 1, ["wc"]]
)
def test_a_program_that_is_no_plain_name_does_not(program: object) -> None:
    assert not may_generalise(program)


@pytest.mark.parametrize(
    "program", ["ipython", "coverage", "run-parts", "linux64", "fakeroot", "elvish", "/opt/bin/deploy", "x"]
)
def test_a_program_that_an_agent_chose_and_nobody_knows_is_approved_call_by_call(program: str) -> None:
    """What it makes of another file nobody can tell; with a template whoever registered it could."""
    asked = {"command": program, "args": ["-v", "src/a"], "timeout_ms": 1000}
    for constraint in (("/args", "argv", {"under": "src"}), ("/timeout_ms", "lte", 5000)):
        with pytest.raises(InvalidError) as refused:
            bound(asked, RUN, constraint)
        assert refused.value.code == "pattern_too_broad"
    template = custom({"file": text()}, "process_exec", argv=(program, "{file}"))
    found = bound({"file": "src/a"}, template, ("/file", "path_prefix", "src"))
    assert matches(found, {"file": "src/b"})


def test_the_program_stays_the_same_while_its_arguments_widen() -> None:
    asked = {"command": "wc", "args": ["-l", "src/a"]}
    found = bound(asked, RUN, ("/args", "argv", {"under": "src"}))
    assert matches(found, {"command": "wc", "args": ["-l", "src/b"]})
    for program in ("rm", "/usr/bin/wc", "WC", "wc ", "./wc"):
        assert not matches(found, {"command": program, "args": ["-l", "src/b"]})
    assert not matches(found, asked | {"env": {"A": "b"}})
    assert not matches(found, asked | {"stdin": ""})
    with pytest.raises(InvalidError):
        bound(asked, RUN, ("/args", "argv", {"under": "src"}), ("/command", "one_of", ["wc", "cat"]))


def test_arguments_and_their_directory_do_not_widen_together() -> None:
    asked = {"command": "wc", "args": ["src/a"], "cwd": "app/one"}
    with pytest.raises(InvalidError):
        bound(asked, RUN, ("/args", "argv", {"under": "src"}), ("/cwd", "path_prefix", "app"))
    assert matches(bound(asked, RUN, ("/cwd", "path_prefix", "app")), asked | {"cwd": "app/two"})


def test_an_argument_vector_widens_where_a_file_of_it_lies() -> None:
    asked = {"command": "wc", "args": ["-l", "src/a"]}
    for under in ("lib", "src/a", "-l"):
        with pytest.raises(InvalidError):
            bound(asked, RUN, ("/args", "argv", {"under": under}))
    with pytest.raises(InvalidError):
        bound(asked, RUN, ("/args", "argv", {"argv": ["-l", "src/b"], "under": "src"}))
    near = bound(asked, RUN, ("/args", "argv", {"argv": ["-l", "src/a"], "under": "src"}))
    assert narrower_or_equal(bound(asked, RUN, ("/args", "argv", None)), near)
    assert not narrower_or_equal(near, bound(asked, RUN, ("/args", "argv", None)))


def test_a_template_widens_as_its_own_program_does() -> None:
    fields = {
        "files": {"type": "array", "items": text()},
        "mode": text(),
        "file": text(),
        "times": {"type": "integer"},
    }
    asked = {"files": ["src/a"], "mode": "x", "file": "src/b", "times": 2}
    plain = custom(fields, "process_exec", argv=("wc", "{mode}", "{file}", "{times}", "{files...}"))
    found = bound(asked, plain, ("/files", "argv", {"under": "src"}))
    assert matches(found, asked | {"files": ["src/z"]})
    assert not matches(found, asked | {"files": ["etc"]})
    assert matches(bound(asked, plain, ("/file", "path_prefix", "src")), asked | {"file": "src/q"})
    with pytest.raises(InvalidError):
        bound(asked, plain, ("/mode", "any"))
    for program in ("bash", "python3", "{mode}"):
        runs = custom(fields, "process_exec", argv=(program, "{mode}", "{file}", "{times}", "{files...}"))
        for constraint in (
            ("/file", "path_prefix", "src"),
            ("/times", "lte", 2),
            ("/files", "argv", {"under": "src"}),
        ):
            with pytest.raises(InvalidError):
                bound(asked, runs, constraint)


def test_a_vector_that_holds_its_program_keeps_it() -> None:
    tool = custom({"argv": {"type": "array", "items": text()}}, "process_exec")
    found = bound({"argv": ["wc", "src/a"]}, tool, ("/argv", "argv", {"under": "src"}))
    assert matches(found, {"argv": ["wc", "src/b"]})
    assert not matches(found, {"argv": ["cat", "src/b"]})
    assert not matches(found, {"argv": ["src/b", "src/b"]})
    with pytest.raises(InvalidError):
        bound({"argv": ["bash", "src/a"]}, tool, ("/argv", "argv", {"under": "src"}))


def test_a_parameter_that_names_a_program_is_one_whatever_the_tool_says_of_itself() -> None:
    tool = custom({"command": text(), "file": text(), "timeout_ms": {"type": "integer"}})
    quiet = {"command": "wc", "file": "src/a", "timeout_ms": 10}
    assert matches(bound(quiet, tool, ("/file", "path_prefix", "src")), quiet | {"file": "src/b"})
    for program in ("python3", "./run", ["bash"]):
        for constraint in (("/file", "path_prefix", "src"), ("/timeout_ms", "lte", 10)):
            with pytest.raises(InvalidError):
                bound(quiet | {"command": program}, tool, constraint)
    with pytest.raises(InvalidError):
        bound(quiet, tool, rest="any")
