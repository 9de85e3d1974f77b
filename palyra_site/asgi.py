"""The main listener: Django's ASGI application behind a body cap."""

from __future__ import annotations

import os
import warnings
from typing import cast

from django.core.asgi import get_asgi_application

from governance.api.body_cap import Application, capped

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "palyra_site.settings")

# WhiteNoise answers with a file; read into memory by Django, which for these few small ones is right.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

application = capped(cast("Application", get_asgi_application()))
