"""`palyra policy`: the rules in force, their versions, and what a change would do."""

from __future__ import annotations

import typer

app = typer.Typer(help="Policy sets: the rules, their versions, tests and changes.", no_args_is_help=True)
