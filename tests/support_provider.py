"""A sign-in provider as a process of its own: oidc-provider-mock, made stricter and, on demand, crooked.

    python -m tests.support_provider PORT

The mock accepts any code exchange; here the PKCE verifier must fit the challenge, as at a real provider.
A person whose claims hold `crooked` gets what that word says instead of an honest token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

warnings.simplefilter("ignore")
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import oidc_provider_mock  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402
from werkzeug.test import run_wsgi_app  # noqa: E402
from werkzeug.wrappers import Request, Response  # noqa: E402

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
CHALLENGES: dict[str, str] = {}


def provider(inner: Wsgi) -> Wsgi:
    """Return the mock behind its stricter front."""

    def front(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        request.get_data()  # what is read of the form below would be missing in the mock
        if request.path == "/oauth2/token" and not _fits(request):
            answer = Response(json.dumps({"error": "invalid_grant"}), 400, mimetype="application/json")
            return answer(environ, start_response)
        again = environ | {"wsgi.input": io.BytesIO(request.get_data())}
        body, status, headers = run_wsgi_app(inner, again, buffered=True)
        content = b"".join(body)
        if request.path == "/oauth2/authorize" and request.method == "POST":
            _remember(request, headers.get("Location", ""))
        if request.path == "/oauth2/token" and status.startswith("200"):
            return _crooked(content)(environ, start_response)
        return Response(content, status, headers)(environ, start_response)

    return front


def _fits(request: Request) -> bool:
    challenge = CHALLENGES.get(request.form.get("code", ""))
    digest = hashlib.sha256(request.form.get("code_verifier", "").encode()).digest()
    return challenge == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _remember(request: Request, location: str) -> None:
    code = parse_qs(urlsplit(location).query).get("code", [""])[0]
    if request.args.get("code_challenge_method") == "S256":
        CHALLENGES[code] = request.args.get("code_challenge", "")


def _crooked(content: bytes) -> Response:
    answer = json.loads(content)
    head, body, signature = answer["id_token"].split(".")
    how = json.loads(base64.urlsafe_b64decode(body + "==")).get("crooked", "")
    if how in ("none", "HS256"):
        head = _part(json.dumps({"alg": how}).encode())
        signature = (
            "" if how == "none" else _part(hmac.digest(b"secret", f"{head}.{body}".encode(), "sha256"))
        )
    if how == "unsigned":
        signature = _part(b"\0" * 256)
    answer["id_token"] = f"{head}.{body}.{signature}"
    if how == "html":
        return Response("<h1>hello</h1>", 200, mimetype="text/html")
    if how == "redirect":
        return Response("", 302, {"Location": "/jwks"})
    if how == "huge":
        answer["padding"] = "x" * 70000
    if how == "no_token":
        del answer["id_token"]
    return Response(json.dumps(answer), 200, mimetype="application/json")


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


if __name__ == "__main__":
    make_server(
        "127.0.0.1", int(sys.argv[1]), provider(oidc_provider_mock.app()), threaded=True
    ).serve_forever()
