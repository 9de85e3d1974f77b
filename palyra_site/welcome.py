"""What the first start says: where the console is, who may enter, and one call to paste."""

from __future__ import annotations

import json

from django.conf import settings

from governance import bootstrapped


def read_credentials() -> dict[str, str] | None:
    """Return what bootstrap.json holds, or None after somebody removed it."""
    path = settings.PALYRA_HOME / "bootstrap.json"
    if not path.exists():
        return None
    values: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return values


def welcome(credentials: dict[str, str]) -> str:
    """Return the text for the terminal. Its last lines are a command for a POSIX shell."""
    return f"""
  Palyra is running. Ctrl-C stops everything.

  Console    {credentials["console_url"]}
  User       {credentials["username"]}
  Password   {credentials["password"]}
  One-time   {_one_time(credentials)}

  The same credentials are in {settings.PALYRA_HOME / "bootstrap.json"}.
  A first governed call: the agent proposes, Palyra decides, runs it in the sandbox and attests it.

{_first_call(credentials["api_url"], credentials["agent_token"])}

"""


def _one_time(credentials: dict[str, str]) -> str:
    if not bootstrapped.seed_in_force():
        return "a code of your own authenticator (end these credentials: palyra bootstrap clear)"
    secret = credentials["totp_uri"].partition("secret=")[2].partition("&")[0]
    return f"{secret}  (for an authenticator; or: .venv/bin/python manage.py totp)"


def _first_call(api: str, token: str) -> str:
    first_id = "python3 -c 'import json,sys; print(json.load(sys.stdin)[\"id\"])'"
    send = f"curl -s -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json'"
    body = '"{\\"run_id\\":\\"$RUN\\",\\"tool\\":\\"demo.ls\\",\\"input\\":{}}"'
    return f"""  RUN=$({send} {api}/runs -d '{{}}' | {first_id}); \\
  {send} '{api}/tool-calls?wait=20' -d {body}"""
