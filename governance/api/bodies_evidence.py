"""Bodies about evidence."""

from __future__ import annotations

from governance.api.bodies import AnyJson
from governance.api.strict import Body


class AttestationBody(Body):
    envelope = AnyJson(help_text="A DSSE envelope, as `GET /tool-calls/{id}/attestation` answers.")
