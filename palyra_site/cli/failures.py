"""What a command raises instead of printing: one error line, perhaps a hint, and an exit code."""

from __future__ import annotations

from collections.abc import Mapping

from palyra_site.cli.exits import Exit


class CliError(Exception):
    """An expected failure. `document` is the server's problem document when there was one."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        exit_code: Exit,
        hint: str | None = None,
        document: Mapping[str, object] | None = None,
    ) -> None:
        self.code = code
        self.detail = detail
        self.exit_code = exit_code
        self.hint = hint
        self.document = document
        super().__init__(f"{code}: {detail}")


class UsageError(CliError):
    """The command line, the configuration or a file is wrong; nothing was sent."""

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__("usage", detail, exit_code=Exit.USAGE, hint=hint)


class PipeClosedError(Exception):
    """The reader of standard output went away. Not an OSError, which the parser would swallow."""
