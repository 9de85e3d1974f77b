"""Requests of the AuthZEN Authorization API 1.0, read from JSON.

Unknown members are ignored, as the standard asks; whatever is known must have its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kernel.errors import Detail, MalformedError
from policy.domain_requests import DomainRequest, Party

MAX_EVALUATIONS = 100
MAX_RESULTS = 1_000
_NAMED_BY = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}


class Semantic(StrEnum):
    """How a batch is executed."""

    EXECUTE_ALL = "execute_all"
    DENY_ON_FIRST_DENY = "deny_on_first_deny"
    PERMIT_ON_FIRST_PERMIT = "permit_on_first_permit"


class Search(StrEnum):
    """What a search is for; that entity need not be identified, and its id is ignored."""

    SUBJECT = "subject"
    RESOURCE = "resource"
    ACTION = "action"


@dataclass(frozen=True, slots=True)
class BadItem:
    """One evaluation of a batch that cannot be asked."""

    message: str


@dataclass(frozen=True, slots=True)
class Batch:
    items: tuple[DomainRequest | BadItem, ...]
    semantic: Semantic = Semantic.EXECUTE_ALL


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a search's results that is asked for. `limit` None: as many as there may be."""

    token: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Searched:
    """A search. `stated` holds all that must be the same on each of its pages."""

    kind: Search
    request: DomainRequest
    page: Page
    stated: Mapping[str, object] = field(repr=False)


def read_evaluation(body: Mapping[str, Any]) -> DomainRequest:
    """Return one question; raises MalformedError `authzen_invalid`."""
    return _request({name: _entity(body, name) for name in _NAMED_BY}, _object(body, "context"))


def read_evaluations(body: Mapping[str, Any]) -> DomainRequest | Batch:
    """Return a batch, or one question when there are no evaluations in it.

    The members of an item stand in place of those at the top, whole; only a missing `type`, `id` or
    `name` is taken from there. An item that cannot be asked is a BadItem and leaves the others alone.
    """
    given = body.get("evaluations", [])
    if not isinstance(given, list):
        raise _invalid("/evaluations", "must be an array")
    if not given:
        return read_evaluation(body)
    if len(given) > MAX_EVALUATIONS:
        raise _invalid("/evaluations", f"holds more than {MAX_EVALUATIONS} items")
    above = {name: _partial(body, name) for name in _NAMED_BY}
    context = _object(body, "context")
    items = tuple(_item(item, above, context) for item in given)
    return Batch(items, _semantic(_object(body, "options")))


def read_search(kind: Search, body: Mapping[str, Any]) -> Searched:
    """Return a search; raises MalformedError `authzen_invalid`."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in _NAMED_BY:
        if name != kind:
            found[name] = _entity(body, name)
        elif kind is not Search.ACTION:
            found[name] = {**_entity(body, name, ("type",)), "id": "", "properties": {}}
    context = _object(body, "context")
    request = _request({"action": {"name": ""}, **found}, context)
    return Searched(kind, request, _page(_object(body, "page")), {**found, "context": context})


def _item(
    item: object, above: Mapping[str, Mapping[str, Any]], context: Mapping[str, Any]
) -> DomainRequest | BadItem:
    try:
        if not isinstance(item, dict):
            raise _invalid("", "must be an object")
        merged = {name: _laid_over(item, name, above[name]) for name in _NAMED_BY}
        return _request(
            {name: _entity(merged, name) for name in _NAMED_BY},
            _object(item, "context") if "context" in item else context,
        )
    except MalformedError as error:
        return BadItem(error.detail)


def _laid_over(item: Mapping[str, Any], name: str, above: Mapping[str, Any]) -> Mapping[str, Any]:
    if name not in item:
        return above
    own = _partial(item, name)
    return {**{key: above[key] for key in _NAMED_BY[name] if key in above}, **own}


def _request(parts: Mapping[str, Mapping[str, Any]], context: Mapping[str, Any]) -> DomainRequest:
    subject, action, resource = parts["subject"], parts["action"], parts["resource"]
    return DomainRequest(
        subject=Party(subject["type"], subject["id"], subject.get("properties", {})),
        action=action["name"],
        resource=Party(resource["type"], resource["id"], resource.get("properties", {})),
        context=context,
        action_properties=action.get("properties", {}),
    )


def _entity(body: Mapping[str, Any], name: str, required: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    """Return a complete entity, without what is not known of it."""
    entity = _partial(body, name)
    for key in required or _NAMED_BY[name]:
        if key not in entity:
            raise _invalid(f"/{name}/{key}" if entity else f"/{name}", "is required")
    return entity


def _partial(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return what is said of an entity; what is said must have its type."""
    entity = _object(body, name)
    known: dict[str, Any] = {}
    for key in _NAMED_BY[name]:
        if key in entity:
            known[key] = _text(entity[key], f"/{name}/{key}")
    if "properties" in entity:
        known["properties"] = _object(entity, "properties", above=f"/{name}")
    return known


def _object(body: Mapping[str, Any], name: str, *, above: str = "") -> Mapping[str, Any]:
    value = body.get(name, {})
    if not isinstance(value, dict):
        raise _invalid(f"{above}/{name}", "must be an object")
    return value


def _text(value: object, pointer: str) -> str:
    if not isinstance(value, str):
        raise _invalid(pointer, "must be a string")
    return value


def _semantic(options: Mapping[str, Any]) -> Semantic:
    given = options.get("evaluations_semantic", Semantic.EXECUTE_ALL)
    if not isinstance(given, str) or given not in set(Semantic):
        raise _invalid("/options/evaluations_semantic", "is not a known semantic")
    return Semantic(given)


def _page(given: Mapping[str, Any]) -> Page:
    token, limit = given.get("token"), given.get("limit")
    if token is not None and not isinstance(token, str):
        raise _invalid("/page/token", "must be a string")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise _invalid("/page/limit", "must be a non-negative integer")
    return Page(token or None, limit)


def _invalid(pointer: str, sentence: str) -> MalformedError:
    detail = Detail(pointer, "invalid", f"This {sentence}.")
    return MalformedError("authzen_invalid", f"{pointer or 'An evaluation'} {sentence}.", errors=(detail,))
