"""`palyra notifications`: what you want mail about."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from palyra_site.cli.failures import UsageError
from palyra_site.cli.session import current

app = typer.Typer(help="Mail about requests that you may answer.", no_args_is_help=True)


class Risk(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@app.command(epilog="Example: palyra notifications show")
def show(ctx: typer.Context) -> None:
    """Show what you get mail about."""
    session = current(ctx)
    answer = session.elevated(session.api.subscription)
    session.output.one(answer.text, answer.data)


@app.command("set", epilog="Example: palyra notifications set on --risk high --quiet-hours 22:00-07:00 --yes")
def set_(
    ctx: typer.Context,
    *,
    switch: Annotated[str, typer.Argument(metavar="on|off", help="Whether you get mail.")],
    risk: Annotated[Risk, typer.Option("--risk", help="From which risk on.")] = Risk.LOW,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", help="tool, skill, …; may be repeated; default all.")
    ] = None,
    quiet_hours: Annotated[
        str | None,
        typer.Option("--quiet-hours", help="Hours without mail, as in 22:00-07:00; critical passes."),
    ] = None,
    time_zone: Annotated[str, typer.Option("--time-zone", help="Of the quiet hours.")] = "UTC",
) -> None:
    """Say what you want mail about, in place of what you said before."""
    if switch not in ("on", "off"):
        raise UsageError("Say on or off.")
    start, end = _hours(quiet_hours)
    body: dict[str, Any] = {
        "enabled": switch == "on",
        "minimum_risk": risk.value,
        "subject_types": subject or [],
        "quiet_from": start,
        "quiet_to": end,
        "time_zone": time_zone,
    }
    session = current(ctx)
    session.confirm(f"Mail from risk {risk.value} on?" if switch == "on" else "No more mail?")
    answer = session.elevated(lambda: session.api.subscribe(body))
    session.output.one(answer.text, answer.data)


def _hours(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    start, dash, end = text.partition("-")
    if not dash:
        raise UsageError(f"{text} is no span of hours such as 22:00-07:00.")
    return _minute(start, text), _minute(end, text)


def _minute(clock: str, text: str) -> int:
    hour, colon, minute = clock.partition(":")
    digits = (hour + minute).isascii() and (hour + minute).isdigit()
    if not colon or not digits or len(hour) > 2 or len(minute) != 2 or int(hour) > 23 or int(minute) > 59:
        raise UsageError(f"{text} is no span of hours such as 22:00-07:00.")
    return int(hour) * 60 + int(minute)
