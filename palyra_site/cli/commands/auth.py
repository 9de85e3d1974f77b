"""`palyra auth`: what the server asks before it believes."""

from __future__ import annotations

import typer

from palyra_site.cli.commands import access
from palyra_site.cli.failures import UsageError
from palyra_site.cli.session import current

app = typer.Typer(help="Proof of who you are, and who may do what.", no_args_is_help=True)
app.add_typer(access.app, name="access")


@app.command("step-up", epilog="Example: palyra auth step-up --otp-file ~/code")
def step_up(ctx: typer.Context) -> None:
    """Prove with a one-time code that you are there; the token can do more for five minutes."""
    session = current(ctx)
    code = session.one_time_code() or session.asked_code()
    if code is None:
        raise UsageError("A one-time code is needed and nobody can be asked.", hint="add --otp CODE")
    session.step_up(code)
    session.say("the token is elevated for five minutes")
