"""The main listener: Django's ASGI application behind a body cap."""

from __future__ import annotations

import os
from typing import cast

from django.core.asgi import get_asgi_application

from governance.api.body_cap import Application, capped

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "palyra_site.settings")

application = capped(cast("Application", get_asgi_application()))
