"""The main listener: Django's ASGI application behind a body cap and the guard of plain HTTP.

A server whose own settings would carry plain HTTP beyond this machine does not start.
"""

from __future__ import annotations

import os
import warnings
from typing import cast

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

from governance.api.body_cap import Application, capped
from palyra_site.exposure import plain_faults
from palyra_site.plain_guard import guarded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "palyra_site.settings")

# WhiteNoise answers with a file; read into memory by Django, which for these few small ones is right.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

for finding in plain_faults(settings.PALYRA_BIND, settings.PALYRA_PUBLIC_URL):
    raise ImproperlyConfigured(f"{finding.sentence}. {finding.hint}")

application = guarded(
    capped(cast("Application", get_asgi_application())), public_url=settings.PALYRA_PUBLIC_URL
)
