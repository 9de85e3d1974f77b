"""How far a verification is: a bar on a terminal, and nothing anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palyra_site.cli.session import Session

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

_WIDTH = 24
_SECONDS = 0.2


class Progress:
    """Writes one line over and over to standard error, at most five times a second."""

    def __init__(self, session: Session, total: int | None = None) -> None:
        self._session = session
        self._total = total
        self._began = session.world.monotonic()
        self._shown = 0.0
        self._drawn = False
        self._on = session.world.stderr.isatty() and session.world.environ.get("TERM") != "dumb"

    def told(self, done: int, events: int) -> None:
        """Show `done` of the total, in whatever it is counted, and how many events a second that makes."""
        now = self._session.world.monotonic()
        if not self._on or (self._drawn and now - self._shown < _SECONDS):
            return
        self._shown, self._drawn = now, True
        elapsed = max(now - self._began, 0.001)
        rate = f"{events / elapsed:,.0f} events/s".replace(",", " ")
        self._session.world.stderr.write(f"\r\x1b[K{self._bar(done, elapsed)}{rate}")
        self._session.world.stderr.flush()

    def of_job(self, answer: Answer) -> None:
        """Show how far the server is."""
        done, total = answer.data.get("done"), answer.data.get("total")
        self._total = total if isinstance(total, int) else None
        if isinstance(done, int):
            self.told(done, done)

    def end(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._session.world.stderr.write("\r\x1b[K")
            self._session.world.stderr.flush()

    def _bar(self, done: int, elapsed: float) -> str:
        if not self._total or not done:
            return ""
        part = min(1.0, done / self._total)
        filled = round(part * _WIDTH)
        left = elapsed / part - elapsed
        return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {part:4.0%}, {left:.0f} s left, "
