"""`python -m palyra_site.cli` is the `palyra` command."""

from __future__ import annotations

import sys

from palyra_site.cli.main import main

sys.exit(main())
