"""The main listener: Django's ASGI application behind a body cap."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.asgi import get_asgi_application

from governance.api.body_cap import capped

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "palyra_site.settings")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

django_application: Application = get_asgi_application()

application: Application = capped(django_application)
