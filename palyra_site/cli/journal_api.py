"""The journal's part of the REST API. Every method is one request, errors arrive as CliError."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from palyra_site.cli.client import EVENT_STREAM, LINES, PATIENCE_BETWEEN_EVENTS, Collection
from palyra_site.cli.connection import Answer, Connection, Query
from palyra_site.cli.settings import API_PREFIX

if TYPE_CHECKING:
    from palyra_site.cli.session import Session

PATIENCE_OF_AN_EXPORT = 120.0
TEXT = "text/plain"


class Journal:
    """The routes below `/journal`, and those of evidence and attestations that belong to it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._path = f"{API_PREFIX}/journal"
        self.events = self.collection("events")

    def collection(self, name: str) -> Collection:
        return Collection(self._connection, f"{self._path}/{name}")

    def lines(self, filters: Mapping[str, Any], *, after: int | None) -> Iterator[str]:
        """Yield the sealed events behind a number up to the newest, one JSON object a line."""
        return self._connection.lines(self._tail(filters, after), LINES)

    def live_lines(self, filters: Mapping[str, Any], *, after: int | None) -> Iterator[str]:
        """Yield the lines of the event stream that goes on as events are sealed."""
        return self._connection.lines(self._tail(filters, after, PATIENCE_BETWEEN_EVENTS), EVENT_STREAM)

    def proof(self, event_id: str, size: int | None) -> Answer:
        """Return the proof file as the server wrote it."""
        return self._text(self.events.at(event_id, "proof"), {"size": size})

    def checkpoint(self) -> Answer:
        return self._text(f"{self._path}/checkpoint", {})

    def consistency(self, old: int, new: int) -> Answer:
        path, params = f"{self._path}/consistency", {"from": old, "to": new}
        return self._connection.send(Query("GET", path, params=params))

    def export(self, params: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the bytes of an export as they arrive."""
        query = Query("GET", f"{self._path}/export", params=present(params), patience=PATIENCE_OF_AN_EXPORT)
        return self._connection.pieces(query, LINES)

    def act(self, verb: str, body: Mapping[str, Any], *, key: str) -> Answer:
        return self._connection.send(Query("POST", f"{self._path}/{verb}", body=present(body), key=key))

    def evidence(self, call_id: str, *, reveal: bool) -> Answer:
        path = f"{API_PREFIX}/tool-calls/{quote(call_id, safe='')}/evidence"
        params = present({"reveal": "true" if reveal else None})
        return self._connection.send(Query("GET", path, params=params, patience=PATIENCE_OF_AN_EXPORT))

    def attestation(self, call_id: str) -> Answer:
        path = f"{API_PREFIX}/tool-calls/{quote(call_id, safe='')}/attestation"
        return self._connection.send(Query("GET", path))

    def judge(self, envelope: object) -> Answer:
        """Have the server judge an attestation against the keys it knows."""
        path = f"{API_PREFIX}/attestations/verify"
        return self._connection.send(Query("POST", path, body={"envelope": envelope}))

    def _tail(self, filters: Mapping[str, Any], after: int | None, patience: float = 0.0) -> Query:
        headers = {"Last-Event-ID": str(after)} if after is not None else None
        return Query("GET", self.events.path, params=present(filters), headers=headers, patience=patience)

    def _text(self, path: str, params: Mapping[str, Any]) -> Answer:
        return self._connection.send(Query("GET", path, params=present(params), headers={"Accept": TEXT}))


def journal_of(session: Session) -> Journal:
    return Journal(session.api.connection)


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was not given."""
    return {name: value for name, value in values.items() if value is not None and value != []}
