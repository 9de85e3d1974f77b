"""What never reaches a log, whoever writes it there."""

from __future__ import annotations

import logging
import re

_SETUP_LINK = re.compile(r"(/admin/setup/)[^/\s?\"']+")


class WithoutSetupLinks(logging.Filter):
    """Cut the secret out of a setup link: Django names the path of a request that it refuses or fails on."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            line = record.getMessage()
        except (TypeError, ValueError):
            return True  # the handler reports what cannot be formatted
        cut = _SETUP_LINK.sub(r"\1…", line)
        if cut != line:
            record.msg, record.args = cut, ()
        return True
