"""`palyra bootstrap`: the end of the credentials that the first start wrote."""

from __future__ import annotations

import typer

from palyra_site.cli.failures import UsageError
from palyra_site.cli.session import Session, current

app = typer.Typer(help="The credentials of the first start.", no_args_is_help=True)
PASSWORD_QUESTION = "New password of the owner: "  # a question
AGAIN_QUESTION = "The same once more: "


@app.command(epilog="Example: palyra bootstrap clear --otp 123456 < new-password.txt")
def clear(ctx: typer.Context) -> None:
    """Delete bootstrap.json, revoke its owner token and set a password of your own.

    Enrol an own authenticator in the console first; the code asked for is one of it. The new password
    is asked for without echo, or is the first line of standard input.
    """
    session = current(ctx)
    password = _new_password(session)
    code = session.one_time_code() or session.asked_code()
    if code is None:
        raise UsageError("A one-time code is needed and nobody can be asked.", hint="add --otp CODE")
    session.api.clear_bootstrap(code, password, key=session.new_key())
    session.say("the credentials of the first start are gone; sign in with your own, and mint a new token")


def _new_password(session: Session) -> str:
    if not session.interactive:
        password = session.world.stdin.readline().rstrip("\r\n")
    else:
        password = session.world.ask_secret(PASSWORD_QUESTION)
        if session.world.ask_secret(AGAIN_QUESTION) != password:
            raise UsageError("The two passwords are not the same; nothing was sent.")
    if not password:
        raise UsageError("A new password is needed.", hint="palyra bootstrap clear --otp CODE < FILE")
    return password
