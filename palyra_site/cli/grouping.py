"""The top-level help: commands under the headings of what people come for."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

HEADINGS = {
    "Govern": (
        "approvals",
        "grants",
        "denials",
        "break-glass",
        "calls",
        "runs",
        "policy",
        "tools",
        "posture",
        "labels",
        "freeze",
    ),
    "Trust": ("tokens", "agents", "users", "workspaces", "flags", "auth"),
    "Record": ("journal", "evidence", "attestation"),
    "System": (
        "login",
        "logout",
        "whoami",
        "profiles",
        "bootstrap",
        "jobs",
        "webhooks",
        "notifications",
        "up-check",
        "api",
        "version",
        "completion",
    ),
}


class Grouped(TyperGroup):
    """Lists every command under one heading; one that is named nowhere stands under Other."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        left = dict(self.commands)
        sections = {
            heading: [(name, left.pop(name)) for name in names if name in left]
            for heading, names in HEADINGS.items()
        }
        sections["Other"] = list(left.items())
        limit = formatter.width - 6 - max(len(name) for name in self.commands)
        for heading, entries in sections.items():
            if entries:
                with formatter.section(heading):
                    formatter.write_dl([(name, entry.get_short_help_str(limit)) for name, entry in entries])
