"""A typed client of the REST API. Every method is one request and returns its answer.

`Palyra(connection).approvals.answer(…)`; errors arrive as CliError with the exit code they mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from palyra_site.cli.connection import Answer, Connection, Query
from palyra_site.cli.exits import WAITING_STATES
from palyra_site.cli.settings import API_PREFIX

LONGEST_WAIT = 60
EVENT_STREAM = "text/event-stream"
LINES = "application/x-ndjson"
PATIENCE_BETWEEN_EVENTS = 30.0
"""Beside the usual patience: a stream with no news sends a comment every 15 s."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Reading of one kind of object: a page, all pages, or one by its id or name."""

    connection: Connection
    path: str

    def page(self, filters: Mapping[str, Any]) -> Answer:
        return self.connection.send(Query("GET", self.path, params=_present(filters)))

    def show(self, name: str) -> Answer:
        return self.connection.send(Query("GET", self.at(name)))

    def at(self, name: str, verb: str = "") -> str:
        """Return the path of one object, or of a verb on it."""
        return f"{self.path}/{quote(name, safe='')}" + (f"/{verb}" if verb else "")

    def create(self, body: Mapping[str, Any], *, key: str) -> Answer:
        return self.connection.send(Query("POST", self.path, body=_present(body), key=key))

    def change(self, name: str, body: Mapping[str, Any], *, if_match: str) -> Answer:
        """Edit an object as it was when `if_match` was its ETag."""
        headers = {"If-Match": if_match}
        return self.connection.send(Query("PATCH", self.at(name), body=dict(body), headers=headers))

    def delete(self, name: str) -> Answer:
        return self.connection.send(Query("DELETE", self.at(name)))

    def within(self, name: str, kind: str) -> Collection:
        """Return the collection of what belongs to one object, such as a workspace's memberships."""
        return Collection(self.connection, self.at(name, kind))

    def act(self, name: str, verb: str, body: Mapping[str, Any], *, key: str) -> Answer:
        return self.connection.send(Query("POST", self.at(name, verb), body=dict(body), key=key))


@dataclass(frozen=True, slots=True)
class Runs(Collection):
    def open(
        self,
        *,
        key: str,
        purpose: str | None = None,
        max_calls: int | None = None,
        session_key: str | None = None,
        task_text: str | None = None,
    ) -> Answer:
        wishes = {
            "purpose": purpose,
            "max_calls": max_calls,
            "session_key": session_key,
            "task_text": task_text,
        }
        return self.connection.send(Query("POST", self.path, body=_present(wishes), key=key))

    def cancel(self, run_id: str, *, reason: str, key: str) -> Answer:
        return self.act(run_id, "cancel", {"reason": reason}, key=key)

    def complete(self, run_id: str, *, key: str) -> Answer:
        return self.act(run_id, "complete", {}, key=key)

    def events(self, run_id: str, *, after: str | None, names: str | None) -> Iterator[str]:
        """Yield what has happened in a run, one JSON object a line."""
        return self.connection.lines(self._events(run_id, after, names), LINES)

    def live_events(self, run_id: str, *, after: str | None, names: str | None) -> Iterator[str]:
        """Yield the lines of the run's event stream, which goes on as the run does."""
        query = replace(self._events(run_id, after, names), patience=PATIENCE_BETWEEN_EVENTS)
        return self.connection.lines(query, EVENT_STREAM)

    def _events(self, run_id: str, after: str | None, names: str | None) -> Query:
        headers = {"Last-Event-ID": after} if after is not None else None
        return Query("GET", self.at(run_id, "events"), params=_present({"events": names}), headers=headers)


@dataclass(frozen=True, slots=True)
class Calls(Collection):
    def propose(
        self, *, run_id: str, tool: str, arguments: Mapping[str, Any], key: str, dry_run: bool = False
    ) -> Answer:
        body: dict[str, Any] = {"run_id": run_id, "tool": tool, "input": dict(arguments)}
        if dry_run:
            body["dry_run"] = True
        return self.connection.send(Query("POST", self.path, body=body, key=key))

    def look(self, call_id: str, *, wait: int) -> Answer:
        """Return the call when it has ended, else as it is after `wait` (at most 60) seconds."""
        seconds = max(0, min(wait, LONGEST_WAIT))
        return self.connection.send(
            Query("GET", self.at(call_id), params={"wait": seconds}, patience=float(seconds))
        )

    def cancel(self, call_id: str, *, reason: str | None, key: str) -> Answer:
        return self.act(call_id, "cancel", _present({"reason": reason}), key=key)

    def resolve(self, call_id: str, *, outcome: str, note: str, key: str) -> Answer:
        return self.act(call_id, "resolve", {"outcome": outcome, "note": note}, key=key)


@dataclass(frozen=True, slots=True)
class Approvals(Collection):
    def answer(
        self, approval_id: str, verb: str, body: Mapping[str, Any], *, if_match: str, key: str
    ) -> Answer:
        """Send a decision, an edit or a break-glass for a request as it was when `if_match` was its ETag.

        200 when that settled the request, 202 while more people are needed.
        """
        query = Query(
            "POST",
            self.at(approval_id, verb),
            body=_present(body),
            headers={"If-Match": if_match},
            key=key,
        )
        return self.connection.send(query)

    def decide_many(self, body: Mapping[str, Any], *, key: str) -> Answer:
        """Give one answer to many requests; each has its own result in the answer."""
        query = Query("POST", f"{self.path}/bulk-decision", body=_present(body), key=key)
        return self.connection.send(query)

    def cancel(self, approval_id: str, *, reason: str | None, key: str) -> Answer:
        return self.act(approval_id, "cancel", _present({"reason": reason}), key=key)

    def patterns(self, approval_id: str) -> Collection:
        """Return the patterns that an allow of one request may have."""
        return self.within(approval_id, "patterns")

    def export(self, filters: Mapping[str, Any]) -> Answer:
        """Return a page of records as JSON lines; its last line is the trailer with the next cursor."""
        params = _present({**filters, "format": "ndjson"})
        return self.connection.send(Query("GET", f"{self.path}/export", params=params))

    def live_events(self, *, after: str | None, names: str) -> Iterator[str]:
        """Yield the lines of the stream of questions this person could answer; it does not end by itself."""
        headers = {"Last-Event-ID": after} if after is not None else None
        query = Query(
            "GET",
            f"{self.path}/events",
            params={"events": names},
            headers=headers,
            patience=PATIENCE_BETWEEN_EVENTS,
        )
        return self.connection.lines(query, EVENT_STREAM)


@dataclass(frozen=True, slots=True)
class Denials(Collection):
    def forget(self, denial_id: str, *, comment: str) -> Answer:
        return self.connection.send(Query("DELETE", self.at(denial_id), params={"comment": comment}))


@dataclass(frozen=True, slots=True)
class BreakGlassReviews(Collection):
    def find(self, review_id: str, body: Mapping[str, Any], *, key: str) -> Answer:
        """Say of a forced decision whether it was justified."""
        return self.connection.send(Query("POST", self.at(review_id), body=dict(body), key=key))


@dataclass(frozen=True, slots=True)
class Postures(Collection):
    """Postures by tool and scope. A scope is `{scope_kind, scope_id}`."""

    def in_scope(self, tool: str, scope: Mapping[str, str]) -> Answer:
        return self.connection.send(Query("GET", self.at(tool), params=_present(scope)))

    def put(self, tool: str, body: Mapping[str, Any], *, if_match: str | None) -> Answer:
        """Set an override; without `if_match` only where none stands."""
        headers = {"If-Match": if_match} if if_match else None
        return self.connection.send(Query("PUT", self.at(tool), body=dict(body), headers=headers))

    def clear(
        self, tool: str, scope: Mapping[str, str], *, reason: str | None, if_match: str | None
    ) -> Answer:
        params = _present({**scope, "reason": reason})
        headers = {"If-Match": if_match} if if_match else None
        return self.connection.send(Query("DELETE", self.at(tool), params=params, headers=headers))

    def reset(self, body: Mapping[str, Any], *, key: str) -> Answer:
        return self.connection.send(Query("POST", f"{self.path}/reset", body=dict(body), key=key))

    @property
    def presets(self) -> Collection:
        return Collection(self.connection, f"{self.path}/presets")

    def undo(self, event_id: str, body: Mapping[str, Any], *, key: str) -> Answer:
        path = f"{self.path}/undo/{quote(event_id, safe='')}"
        return self.connection.send(Query("POST", path, body=dict(body), key=key))

    @property
    def recommendations(self) -> Collection:
        return Collection(self.connection, f"{self.path}/recommendations")

    @property
    def events(self) -> Collection:
        return Collection(self.connection, f"{self.path}/events")


@dataclass(frozen=True, slots=True)
class Jobs(Collection):
    def look(self, job_id: str, *, wait: int) -> Answer:
        """Return the job when it has ended, else as it is after `wait` (at most 60) seconds."""
        seconds = max(0, min(wait, LONGEST_WAIT))
        return self.connection.send(
            Query("GET", self.at(job_id), params={"wait": seconds}, patience=float(seconds))
        )


@dataclass(frozen=True, slots=True)
class Tools(Collection):
    def catalog(self) -> Answer:
        """Return what the caller could call now, and why not the rest."""
        return self.connection.send(Query("GET", f"{self.path}/catalog"))


@dataclass(frozen=True, slots=True)
class Limits:
    """The one object of limits that a workspace has."""

    connection: Connection
    path: str

    def read(self) -> Answer:
        return self.connection.send(Query("GET", self.path))

    def edit(self, body: Mapping[str, Any], *, if_match: str) -> Answer:
        """Edit the limits as they were when `if_match` was their ETag."""
        headers = {"If-Match": if_match}
        return self.connection.send(Query("PATCH", self.path, body=dict(body), headers=headers))


@dataclass(frozen=True, slots=True)
class Entries(Collection):
    """A list whose entries are named by kind and value."""

    def remove(self, kind: str, value: str) -> Answer:
        return self.connection.send(Query("DELETE", self.path, params={"kind": kind, "value": value}))


@dataclass(frozen=True, slots=True)
class PolicySets(Collection):
    """Policy sets; whatever edits one takes the ETag of the version that was seen."""

    def put(self, set_id: str, file: str, text: str, *, if_match: str) -> Answer:
        return self._edit("PUT", self._file(set_id, file), if_match, {"text": text})

    def take_out(self, set_id: str, file: str, *, if_match: str) -> Answer:
        return self._edit("DELETE", self._file(set_id, file), if_match)

    def discard(self, set_id: str, *, if_match: str) -> Answer:
        return self._edit("DELETE", self.at(set_id), if_match)

    def with_text(self, set_id: str) -> Answer:
        """Return a set with the text of its files."""
        return self.connection.send(Query("GET", self.at(set_id), params={"expand": "text"}))

    def diff(self, set_id: str, against: str | None) -> Answer:
        params = _present({"against": against})
        return self.connection.send(Query("GET", self.at(set_id, "diff"), params=params))

    def export(self, set_id: str, kind: str) -> Answer:
        return self.connection.send(Query("GET", self.at(set_id, "export"), params={"format": kind}))

    def bring_in(self, data: bytes, kind: str, *, name: str, note: str | None, key: str) -> Answer:
        params = _present({"name": name, "note": note})
        return self.connection.send(
            Query("POST", self.at("import"), params=params, raw=(data, kind), key=key)
        )

    def decide(self, set_id: str, verb: str, body: Mapping[str, Any], *, if_match: str, key: str) -> Answer:
        """Activate or roll back; 202 while a second person is asked."""
        return self.connection.send(
            Query("POST", self.at(set_id, verb), body=dict(body), headers={"If-Match": if_match}, key=key)
        )

    def _file(self, set_id: str, file: str) -> str:
        return f"{self.at(set_id, 'files')}/{quote(file, safe='')}"

    def _edit(self, method: str, path: str, if_match: str, body: object = None) -> Answer:
        return self.connection.send(Query(method, path, body=body, headers={"If-Match": if_match}))


@dataclass(frozen=True, slots=True)
class Webhooks(Collection):
    """Webhooks, and their deliveries by their own ids."""

    def remove(self, webhook_id: str, *, if_match: str) -> Answer:
        query = Query("DELETE", self.at(webhook_id), headers={"If-Match": if_match})
        return self.connection.send(query)

    @property
    def deliveries(self) -> Collection:
        return Collection(self.connection, f"{self.path}/deliveries")


class Palyra:
    """The API by its nouns."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.runs = Runs(connection, f"{API_PREFIX}/runs")
        self.calls = Calls(connection, f"{API_PREFIX}/tool-calls")
        self.approvals = Approvals(connection, f"{API_PREFIX}/approvals")
        self.grants = Collection(connection, f"{API_PREFIX}/grants")
        self.denials = Denials(connection, f"{API_PREFIX}/denials")
        self.break_glass_reviews = BreakGlassReviews(connection, f"{API_PREFIX}/break-glass-reviews")
        self.tools = Tools(connection, f"{API_PREFIX}/tools")
        self.limits = Limits(connection, f"{API_PREFIX}/tool-call-config")
        self.allowlist = Entries(connection, f"{API_PREFIX}/allowlist")
        self.sensitive = Entries(connection, f"{API_PREFIX}/sensitive-rules")
        self.posture = Postures(connection, f"{API_PREFIX}/posture")
        self.tokens = Collection(connection, f"{API_PREFIX}/tokens")
        self.agents = Collection(connection, f"{API_PREFIX}/agents")
        self.users = Collection(connection, f"{API_PREFIX}/users")
        self.freezes = Collection(connection, f"{API_PREFIX}/freezes")
        self.flags = Collection(connection, f"{API_PREFIX}/access/flags")
        self.sessions = Collection(connection, f"{API_PREFIX}/sessions")
        self.workspaces = Collection(connection, f"{API_PREFIX}/workspaces")
        self.policy_sets = PolicySets(connection, f"{API_PREFIX}/policy-sets")
        self.jobs = Jobs(connection, f"{API_PREFIX}/jobs")
        self.webhooks = Webhooks(connection, f"{API_PREFIX}/webhooks")

    def whoami(self) -> Answer:
        return self.connection.send(Query("GET", f"{API_PREFIX}/whoami"))

    def subscription(self) -> Answer:
        return self.connection.send(Query("GET", f"{API_PREFIX}/notifications/subscription"))

    def subscribe(self, wishes: Mapping[str, Any]) -> Answer:
        """Say what this person wants mail about, in place of what they said before."""
        path = f"{API_PREFIX}/notifications/subscription"
        return self.connection.send(Query("PUT", path, body=dict(wishes)))

    def flag_history(self, key: str) -> Collection:
        """Return the changes of one feature flag."""
        return Collection(self.connection, self.flags.at(key, "history"))

    def check_policies(self, files: Sequence[Mapping[str, str]]) -> Answer:
        """Check texts that the server stores nowhere."""
        body = {"files": [dict(file) for file in files]}
        return self.connection.send(Query("POST", f"{API_PREFIX}/policy/check", body=body))

    def step_up(self, code: str) -> Answer:
        """Elevate this personal token for five minutes from this network."""
        return self.connection.send(Query("POST", f"{API_PREFIX}/auth/step-up", body={"otp": code}))

    def accept_invitation(self, text: str, *, key: str) -> Answer:
        path = f"{API_PREFIX}/invitations/accept"
        return self.connection.send(Query("POST", path, body={"token": text}, key=key))

    def clear_bootstrap(self, code: str, password: str, *, key: str) -> Answer:
        """End the credentials of the first start; afterwards the bootstrapped token is revoked."""
        path = f"{API_PREFIX}/system/bootstrap/clear"
        body = {"otp": code, "new_password": password}
        return self.connection.send(Query("POST", path, body=body, key=key))

    def judge_case(self, case: Mapping[str, Any]) -> Answer:
        """Have the server judge one conformance case; it writes nothing."""
        path = f"{API_PREFIX}/policy/conformance"
        return self.connection.send(Query("POST", path, body=dict(case)))

    def explain(self, question: Mapping[str, Any]) -> Answer:
        """Ask why policy decides as it does; it writes nothing."""
        return self.connection.send(Query("POST", f"{API_PREFIX}/policy/explain", body=dict(question)))

    def policy_schema(self, tool: str | None) -> Answer:
        return self.connection.send(
            Query("GET", f"{API_PREFIX}/policy/schema", params=_present({"tool": tool}))
        )

    def healthz(self) -> Answer:
        return self.connection.send(Query("GET", "/healthz", retry=False))

    def readyz(self) -> Answer:
        return self.connection.send(Query("GET", "/readyz", retry=False))


def has_ended(call: Mapping[str, Any]) -> bool:
    """Tell whether a tool call is in a terminal state."""
    return call.get("state") not in WAITING_STATES


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != []}
