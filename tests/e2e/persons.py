"""Somebody with a home of their own: at a shell, and before that at the door of the console."""

from __future__ import annotations

import base64
import html
import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from django_otp.oath import TOTP

from tests.e2e.installation import PATIENCE, Installation, Values
from tests.support_fixtures import ROOT

PASSWORD = "an entirely different phrase"
_HIDDEN = re.compile(r'name="(csrfmiddlewaretoken|intent|offer)" value="([^"]*)"')
_SEED = re.compile(r'class="seed"><code>([A-Z2-7 ]+)</code>')
_TOLD_ONCE = re.compile(r'<code id="secret"[^>]*>([^<]+)</code>')


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a shell. Their tokens come from files and pipes only."""

    product: Installation
    home: Path

    def run(self, *arguments: str, exits: int = 0, typed: str = "", token: str = "") -> str:
        """Run one command and return its standard output; no secret may be in its errors."""
        return self.said(*arguments, exits=exits, typed=typed, token=token)[0]

    def said(self, *arguments: str, exits: int = 0, typed: str = "", token: str = "") -> tuple[str, str]:
        """Run one command and return its standard output and its standard error."""
        places = {"HOME": str(self.home), "PALYRA_HOME": str(self.home / "no-server-here")}
        with (self.home / "stderr").open("w") as stderr:
            done = subprocess.run(
                self.product.command("-m", "palyra_site.cli", *arguments),
                env=self.product.environment | places | ({"PALYRA_TOKEN": token} if token else {}),
                cwd=ROOT,
                input=typed,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        said = (self.home / "stderr").read_text()
        assert done.returncode == exits, (arguments, done.returncode, done.stdout, said)
        assert "plr_" not in said
        assert "\x1b" not in done.stdout + said
        return done.stdout, said

    def get(self, *arguments: str, exits: int = 0) -> Values:
        value: Values = json.loads(self.run(*arguments, "--json", exits=exits))
        return value

    def log_in(self, token: str = "") -> None:
        """Keep `token`, or the owner's of the first start, in the profile `local` of this home."""
        token = token or self.product.credentials["owner_token"]
        login = ("login", "--profile", "local", "--url", self.product.url, "--token-stdin")
        assert token not in self.run(*login, typed=f"{token}\n")


@dataclass(slots=True)
class Newcomer:
    """Somebody who has a setup link and nothing else, in a browser without scripts."""

    browser: httpx.Client
    seed: bytes = b""
    used: int = 0

    @classmethod
    def arriving(cls, product: Installation) -> Newcomer:
        browser = httpx.Client(
            base_url=product.url,
            timeout=PATIENCE,
            trust_env=False,
            follow_redirects=True,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        return cls(browser)

    def set_up(self, link: str, username: str) -> None:
        """Choose a password, sign in with it and set up an authenticator."""
        self.send(link, {"password": PASSWORD, "again": PASSWORD})
        page = self.send("/admin/login/", {"username": username, "password": PASSWORD})
        seed = _SEED.search(page)
        assert seed is not None, page
        self.seed = base64.b32decode(seed[1].replace(" ", ""))
        fields = _hidden(page) | {"new_code": self.code()}
        assert "Your recovery codes" in self.post("/admin/account/authenticator/", fields)

    def personal_token(self, *scopes: str) -> str:
        """Mint a token for oneself on the page *My tokens*; return the text that is shown once."""
        page = self.send("/admin/my-tokens/new/", {"label": "shell", "scopes": list(scopes)})
        told = _TOLD_ONCE.search(page)
        assert told is not None, page
        return told[1]

    def code(self) -> str:
        """Return a one-time code that was not given before: this one, or the next, which is good already."""
        clock = TOTP(self.seed)
        clock.time = time.time()
        self.used = max(self.used + 1, clock.t())
        assert self.used <= clock.t() + 1, "more codes than an authenticator shows in this time"
        clock.time = self.used * clock.step
        return f"{clock.token():06d}"

    def send(self, path: str, fields: Values) -> str:
        """Fill in the form of a page and return the page that comes after it."""
        return self.post(path, _hidden(self._page(self.browser.get(path))) | fields)

    def post(self, path: str, fields: Values) -> str:
        return self._page(self.browser.post(path, data=fields))

    def _page(self, answer: httpx.Response) -> str:
        assert answer.status_code == 200, (str(answer.url), answer.status_code, answer.text)
        return answer.text


def _hidden(page: str) -> Values:
    return {name: html.unescape(value) for name, value in _HIDDEN.findall(page)}
