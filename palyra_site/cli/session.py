"""What one invocation works with: options, server, output, and questions to the person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.options import Options, given
from palyra_site.cli.output import Output, output_for
from palyra_site.cli.profiles import NO_PROFILE
from palyra_site.cli.settings import Settings, resolve
from palyra_site.cli.text import visible
from palyra_site.cli.world import World

if TYPE_CHECKING:
    from palyra_site.cli.client import Palyra
    from palyra_site.cli.connection import Answer

_OTP_LENGTHS = range(6, 9)


@dataclass
class Session:
    """One command's surroundings, built on first use."""

    options: Options
    world: World
    _closers: list[Callable[[], None]] = field(default_factory=list)
    _stepped_up: bool = False

    @cached_property
    def settings(self) -> Settings:
        return resolve(self.options, self.world)

    @cached_property
    def output(self) -> Output:
        return output_for(self.options, self.world)

    @cached_property
    def api(self) -> Palyra:
        """The API client. Loading it costs more than all else, so only requests pay for it."""
        from palyra_site.cli.client import Palyra
        from palyra_site.cli.connection import Connection

        if self.settings.origin.startswith("http://") and not self.settings.loopback:
            self.say("warning: the token travels readable over http")
        connection = Connection(self.settings, self.world, self._note)
        self._closers.append(connection.close)
        return Palyra(connection)

    def use(self, settings: Settings) -> None:
        """Work with these settings instead of what the command line chooses. Before the first request."""
        self.settings = settings

    def close(self) -> None:
        for close in self._closers:
            close()

    def new_key(self, part: str = "") -> str:
        """Return the Idempotency-Key of this command's change, or of one part of several."""
        from palyra_site.cli.connection import new_key

        key = self.options.idempotency_key
        if key is None:
            return new_key()
        if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
            raise UsageError("--idempotency-key takes 1 to 255 printable ASCII characters.")
        return f"{key}:{part}" if part else key

    def say(self, line: str) -> None:
        """Write one line for the person to standard error."""
        self.world.stderr.write(visible(line) + "\n")
        self.world.stderr.flush()

    @property
    def interactive(self) -> bool:
        """There is a person who can be asked."""
        forbidden = self.options.no_input or bool(self.world.environ.get("PALYRA_NO_INPUT"))
        return not forbidden and self.world.stdin.isatty()

    def require_expected(self, profile: str) -> None:
        """Refuse when --expect-profile names another profile than this one."""
        if self.options.expect_profile not in (None, profile):
            raise UsageError(f"The profile is {profile}, not {self.options.expect_profile}.")

    def require_consent(self) -> None:
        """Refuse, before anything is sent, a change that nobody could confirm."""
        if not self.options.yes and not self.interactive:
            raise UsageError("This changes something and nobody can be asked.", hint="add --yes")

    def confirm(self, question: str) -> None:
        """Ask and return, or raise: Enter, an end of input and anything but yes mean no."""
        self.require_consent()
        if self.options.yes:
            return
        if self._typed(f"{question} [y/N] ").lower() not in {"y", "yes"}:
            raise _not_confirmed()

    def require_consent_by_name(self) -> None:
        """Refuse, before anything is sent, what cannot be undone and nobody could confirm by name.

        `--yes` alone is not enough: it must come with the profile it is meant for.
        """
        if self.options.yes and self.options.expect_profile is None:
            raise UsageError(
                "This cannot be undone, so --yes needs --expect-profile.",
                hint=f"add --expect-profile {self._profile_name}",
            )
        if not self.options.yes and not self.interactive:
            raise UsageError(
                "This cannot be undone and nobody can be asked.",
                hint=f"add --yes --expect-profile {self._profile_name}",
            )

    def confirm_by_name(self, question: str, name: str) -> None:
        """Ask for `name` typed in full and return, or raise."""
        self.require_consent_by_name()
        if not self.options.yes and self._typed(f"{question} Type {name} to go on: ") != name:
            raise _not_confirmed()

    @property
    def _profile_name(self) -> str:
        return self.settings.profile.name if self.settings.profile else NO_PROFILE

    def _typed(self, question: str) -> str:
        profile = self.settings.profile
        place = f"[{profile.name}] " if profile and profile.prompts_with_name else ""
        self.world.stderr.write(visible(f"{place}{question}"))
        self.world.stderr.flush()
        return self.world.stdin.readline().strip()

    def one_time_code(self) -> str | None:
        """Return the code of --otp, --otp-file or PALYRA_OTP_FILE, None when none was given."""
        if self.options.otp == "-":
            return _checked_code(self.world.stdin.readline())
        if self.options.otp is not None:
            return _checked_code(self.options.otp)
        name = self.options.otp_file or self.world.environ.get("PALYRA_OTP_FILE")
        return _checked_code(_read_text(name)) if name else None

    def with_step_up(self, send: Callable[[str | None], Answer]) -> Answer:
        """Call `send` with the given code; when the server wants one and none was given, ask once."""
        code = self.one_time_code()
        try:
            return send(code)
        except CliError as error:
            if error.code != "step_up_required" or code is not None:
                raise
            asked = self.asked_code()
            if asked is None:
                raise
        return send(asked)

    def elevated(self, send: Callable[[], Answer]) -> Answer:
        """Return what `send` returns, with the token elevated for five minutes where that is needed.

        A code of --otp is used at once. Otherwise the first `step_up_required` takes the code of
        --otp-file or PALYRA_OTP_FILE, or asks for one on a terminal, and `send` runs once more: it must
        send the same Idempotency-Key both times.
        """
        if self.options.otp is not None and not self._stepped_up:
            self.step_up(self.one_time_code())
        try:
            return send()
        except CliError as error:
            if error.code != "step_up_required" or self._stepped_up:
                raise
            code = self.one_time_code() or self.asked_code()
            if code is None:
                raise
        self.step_up(code)
        return send()

    def step_up(self, code: str | None) -> None:
        """Elevate the token by `code`, once per command: a code is accepted one time only."""
        if code is not None and not self._stepped_up:
            self.api.step_up(code)
            self._stepped_up = True

    def asked_code(self) -> str | None:
        """Return the code a person types, None when there is nobody to ask."""
        return _checked_code(self.world.ask_secret("One-time code: ")) if self.interactive else None

    def _note(self, level: int, line: str) -> None:
        if self.options.verbose >= level:
            self.say(line)


def current(ctx: typer.Context) -> Session:
    """Return the session of the running command."""
    world, keep = ctx.find_root().obj
    session = Session(options=given(ctx), world=world)
    keep(session)
    return session


def _not_confirmed() -> CliError:
    return CliError("not_confirmed", "Nothing was changed.", exit_code=Exit.USAGE)


def _checked_code(text: str) -> str:
    code = text.strip()
    if len(code) not in _OTP_LENGTHS or not (code.isascii() and code.isdecimal()):
        raise UsageError("A one-time code has 6 to 8 digits.")
    return code


def _read_text(name: str) -> str:
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("The file of the one-time code cannot be read.") from error
