"""Loaded before settings: gives each test session a home of its own."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:
    _home = tempfile.mkdtemp(prefix="palyra-test-")
    os.environ["PALYRA_HOME"] = _home
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
