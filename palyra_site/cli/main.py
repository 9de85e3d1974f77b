"""The `palyra` command: a thin client of the API. Nothing here decides; the server does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Annotated, Any

import typer

from palyra_site.cli import options
from palyra_site.cli.arguments import refuse_tokens, refuse_undecodable
from palyra_site.cli.commands import (
    agents,
    approval_acts,
    approval_export,
    approval_watch,
    approvals,
    attestation,
    auth,
    bootstrap,
    break_glass,
    calls,
    denials,
    evidence,
    flags,
    freeze,
    grants,
    jobs,
    journal,
    journal_export,
    journal_keeping,
    journal_verify,
    labels,
    login,
    notifications,
    policy,
    policy_conformance,
    policy_explain,
    policy_simulation,
    posture,
    profiles,
    runs,
    system,
    tokens,
    tools,
    users,
    webhooks,
    workspaces,
)
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, PipeClosedError
from palyra_site.cli.grouping import Grouped
from palyra_site.cli.output import wants_json
from palyra_site.cli.session import Session
from palyra_site.cli.text import visible, visible_lines
from palyra_site.cli.version import VERSION
from palyra_site.cli.world import World, real_world

PROGRAM = "palyra"
COMPLETION = "_PALYRA_COMPLETE"

app = typer.Typer(
    name=PROGRAM,
    cls=Grouped,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 internal, 2 usage, 3 not authenticated, 4 no connection, 5 unsupported, "
    "6 refused, 7 conflict, 8 not found, 10 still waiting, 11 the tool failed, 12 something found wrong.",
)
approval_acts.register(approvals.app)
approval_watch.register(approvals.app)
approval_export.register(approvals.app)
app.add_typer(approvals.app, name="approvals")
app.add_typer(grants.app, name="grants")
app.add_typer(denials.app, name="denials")
app.add_typer(break_glass.app, name="break-glass")
app.add_typer(calls.app, name="calls")
app.add_typer(runs.app, name="runs")
policy_conformance.register(policy.app)
policy_explain.register(policy.app)
policy_simulation.register(policy.app)
app.add_typer(policy.app, name="policy")
app.add_typer(jobs.app, name="jobs")
journal_export.register(journal.app)
journal_verify.register(journal.app)
journal_keeping.register(journal.app)
app.add_typer(journal.app, name="journal")
app.add_typer(evidence.app, name="evidence")
app.add_typer(attestation.app, name="attestation")
app.add_typer(tools.app, name="tools")
app.add_typer(posture.app, name="posture")
app.add_typer(auth.app, name="auth")
app.add_typer(flags.app, name="flags")
app.add_typer(freeze.app, name="freeze")
app.add_typer(labels.app, name="labels")
app.add_typer(tokens.app, name="tokens")
app.add_typer(agents.app, name="agents")
app.add_typer(users.app, name="users")
app.add_typer(workspaces.app, name="workspaces")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(notifications.app, name="notifications")
app.add_typer(profiles.app, name="profiles")
login.register(app)
app.add_typer(bootstrap.app, name="bootstrap")
system.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{PROGRAM} {VERSION}")
        raise typer.Exit


@app.callback()
def palyra(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Govern AI agents: see what they ask for, decide, and read what happened."""


def main() -> int:
    """Run the command line of this process and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:], real_world())
    if code == Exit.PIPE_CLOSED:
        # The interpreter flushes standard output once more at exit and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def run(argv: Sequence[str], world: World) -> int:
    """Run one command line in `world` and return its exit code. Raises nothing that is expected."""
    with ExitStack() as stack:
        sessions: list[Session] = []

        def keep(session: Session) -> None:
            sessions.append(session)
            stack.callback(session.close)

        try:
            refuse_tokens(argv)
            refuse_undecodable(argv)
            return _invoke(argv, world, keep)
        except CliError as error:
            _report(error, world, as_json=_as_json(argv, sessions, world))
            return error.exit_code
        except typer.TyperException as error:
            _report_usage(error, world)
            return getattr(error, "exit_code", Exit.USAGE)
        except (PipeClosedError, BrokenPipeError):
            return Exit.PIPE_CLOSED
        except KeyboardInterrupt:
            return Exit.INTERRUPTED


@cache
def command_tree() -> Any:
    """Return the parsed tree of commands, each with the common options; reading it takes a while."""
    tree: Any = typer.main.get_command(app)
    options.add_to(tree)
    _name_exit_codes(tree.commands.values())
    return tree


def _name_exit_codes(commands: Iterable[Any]) -> None:
    for command in commands:
        command.epilog = "\n\n".join(filter(None, (command.epilog, "Exit codes: palyra --help")))
        _name_exit_codes(getattr(command, "commands", {}).values())


def _invoke(argv: Sequence[str], world: World, keep: Callable[[Session], None]) -> int:
    if COMPLETION in world.environ:
        from palyra_site.cli.completion import teach_shells

        teach_shells()
    result = command_tree().main(args=list(argv), prog_name=PROGRAM, standalone_mode=False, obj=(world, keep))
    return int(result or 0)


def _as_json(argv: Sequence[str], sessions: list[Session], world: World) -> bool:
    if not sessions:
        return "--json" in argv
    try:
        return wants_json(sessions[-1].options, world)
    except CliError:
        return False


def _report(error: CliError, world: World, *, as_json: bool) -> None:
    """Write an error to standard error: the problem document, or one line and perhaps a hint."""
    document = error.document
    if as_json:
        problem = document or {"code": error.code, "status": None, "detail": error.detail, "hint": error.hint}
        world.stderr.write(json.dumps(problem, ensure_ascii=True) + "\n")
        return
    request = document.get("request_id") if document else None
    suffix = f" (request {request})" if request else ""
    lines = [f"error[{error.code}] {error.detail}{suffix}", *_findings(document)]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    world.stderr.write("".join(f"{visible(line)}\n" for line in lines))


def _findings(document: Any) -> list[str]:
    errors = document.get("errors") if document else None
    found = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
    return [f"  {item.get('pointer', '')} {item.get('code', '')}: {item.get('detail', '')}" for item in found]


def _report_usage(error: typer.TyperException, world: World) -> None:
    """A group without a command prints its help; every other mistake is one line."""
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        world.stderr.write(visible_lines(message) + "\n")
        return
    context = getattr(error, "ctx", None)
    path = context.command_path if context else PROGRAM
    world.stderr.write(f"error[usage] {visible(message)}\nhint: {path} --help\n")
