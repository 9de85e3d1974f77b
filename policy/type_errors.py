"""Cedar's type errors as findings: in our words, once per policy and message, with a place and a hint."""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import Any

import cedarpy

from policy.positions import name_offset
from policy.reading import MAX_FINDINGS, FileReading, entities_in
from policy.schema import NAMESPACE, PRINCIPAL_TYPES, CedarSchema
from policy.slicing import uid_of
from policy.source import Kind, Token, tokens
from policy.types import Finding

_ACTION = f"{NAMESPACE}::Action"
_ACTIONS_LISTED = 12
_PARTS = 64
"""Parts of one schema that are kept parsed; each takes some hundred kilobytes."""

MAX_POLICY_COST = 50_000_000
MAX_SET_COST = 1_500_000_000
"""Characters times environments: a policy about any action may have some 8,000 characters, a set of such
policies some 240,000; of policies that name their actions, all that a set may hold."""

_PORTION_COST = 10_000_000
_TOO_COSTLY = (
    "Checking the policies for so many actions would take too long; name in the scope the actions that each"
    " is about, or write several policies."
)
_PREFIX = re.compile(r"for policy `policy\d+`, ")
_FOR_ACTION = re.compile(r' in context for (?:\w+::)*Action::"(?P<action>(?:[^"\\]|\\.)*)"')
_ATTRIBUTE = re.compile(r"attribute `(?P<path>[^`]+)`(?: on entity type `(?P<type>[^`]+)`)? not found")
_OPTIONAL = re.compile(r"unable to guarantee safety of access to optional attribute `(?P<path>[^`]+)`")
_UNRECOGNIZED = re.compile(r"unrecognized (?P<what>action|entity type) `(?P<name>.+)`", re.DOTALL)
_QUOTED = re.compile(r"`([^`]+)`")
_NO_ACTION = "unable to find an applicable action given the policy scope constraints"
_CODES = {"action": "unknown_action", "entity type": "unknown_entity_type"}
_NOT_ATTRIBUTES = frozenset({"principal", "resource", "context"})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names a schema text declares, as far as they help to guess what was meant."""

    types: frozenset[str]
    actions: frozenset[str]
    attributes: frozenset[str]


@dataclass(slots=True)
class _Complaint:
    """One message about one policy, with the actions it holds for."""

    message: str
    name: str = ""
    code: str = "type_error"
    actions: list[str] = field(default_factory=list)


def type_findings(files: Iterable[FileReading], schema: CedarSchema) -> Iterator[Finding]:
    """Yield what does not type-check, at most as much as is ever shown, and look no further then.

    Raises ValueError for a schema that does not parse.
    """
    parts, read = _Parts(schema), [file for file in files if file.placed]
    costly = list(islice(_too_costly(read, parts), MAX_FINDINGS))
    found = (one for file in read for one in _file_findings(file, parts))
    yield from costly or islice(found, MAX_FINDINGS)


def _too_costly(files: Sequence[FileReading], parts: _Parts) -> Iterator[Finding]:
    """Yield the policies that would take Cedar too long: it checks each once for every environment."""
    total = 0
    for file in files:
        for placed in file.placed:
            span = placed.statement
            cost = (span.end - span.start) * parts.environments(parts.actions_of(placed.rule.body))
            total += cost
            if cost > MAX_POLICY_COST or total > MAX_SET_COST:
                yield file.finding("too_large", _TOO_COSTLY, span.start, policy_id=placed.rule.id)


def did_you_mean(name: str, known: Iterable[str], shown: str = "`{}`") -> str:
    """Return `; did you mean …?` for the closest known name, or the empty text."""
    close = difflib.get_close_matches(name, sorted(set(known) - {name}), n=1)
    return f"; did you mean {shown.format(close[0])}?" if close else ""


def _file_findings(file: FileReading, parts: _Parts) -> Iterator[Finding]:
    by_rule: defaultdict[int, list[str]] = defaultdict(list)
    for number, message in _type_errors(file, parts):
        by_rule[number].append(message)
    for number in sorted(by_rule):
        yield from _rule_findings(file, number, _complaints(by_rule[number], parts.schema.text))


def _complaints(messages: Iterable[str], schema_text: str) -> list[_Complaint]:
    """Return what is said about one policy, each thing once with its actions; 200 things at most."""
    kept: dict[str, _Complaint] = {}
    worded: dict[str, _Complaint] = {}
    for raw in messages:
        plain, action = _apart(raw)
        if plain not in kept:
            if len(kept) == MAX_FINDINGS:
                continue
            wording = _complaint(plain, schema_text, in_context=bool(action))
            kept[plain] = worded.setdefault(wording.message, wording)
        kept[plain].actions.extend(action)
    return list(worded.values())


def _apart(raw: str) -> tuple[str, list[str]]:
    """Return a message without the action that it is about, and that action."""
    message = _PREFIX.sub("", raw)
    action = None if _UNRECOGNIZED.fullmatch(message) else _FOR_ACTION.search(message)
    if action is None:
        return message, []
    return message[: action.start()] + message[action.end() :], [action["action"]]


def _rule_findings(file: FileReading, number: int, found: Sequence[_Complaint]) -> Iterator[Finding]:
    """Yield the findings about one policy. That no action is left says nothing new beside an unknown name."""
    if not 0 <= number < len(file.placed):
        yield Finding("error", "type_error", file.file.name, "", found[0].message)
        return
    placed = file.placed[number]
    unknown = any(one.code != "type_error" for one in found)
    for one in sorted(found, key=lambda one: one.message):
        if unknown and one.message == _NO_ACTION:
            continue
        offset = name_offset(file.file.text, placed.statement, one.name) if one.name else None
        start = placed.statement.start if offset is None else offset
        yield file.finding(one.code, one.message + _listed(one.actions), start, policy_id=placed.rule.id)


_Errors = tuple[tuple[int, str], ...]
_KEPT = 64
_recent: OrderedDict[tuple[str, str], _Errors] = OrderedDict()
_lock = Lock()


def forget() -> None:
    """Drop the answers kept from earlier checks."""
    _recent.clear()


def _type_errors(file: FileReading, parts: _Parts) -> _Errors:
    """Return (number of the policy, message) of everything that does not type-check.

    The same texts give the same answer, kept for the last few: a set is validated on its way to
    activation, inside it, and after.
    """
    key = (file.checkable, parts.schema.text)
    with _lock:
        known = _recent.get(key)
    if known is None:
        known = tuple(sorted(_check(file, parts)))
        with _lock:
            _recent[key] = known
            while len(_recent) > _KEPT:
                _recent.popitem(last=False)
    return known


def _check(file: FileReading, parts: _Parts) -> set[tuple[int, str]]:
    """Check the policies with the actions that each is about, so that none is tried with all others.

    A policy whose scope names its actions has nothing to say about the rest of the schema. When more is
    wrong than is ever shown, the rest is not looked at.
    """
    groups: defaultdict[frozenset[str] | None, list[int]] = defaultdict(list)
    for number, placed in enumerate(file.placed):
        groups[parts.actions_of(placed.rule.body)].append(number)
    found: set[tuple[int, str]] = set()
    said: set[tuple[int, str]] = set()
    for names, numbers in _portions(file, groups, parts):
        spans = [file.placed[number].statement for number in numbers]
        text = "\n".join(file.file.text[span.start : span.end] for span in spans)
        for place, message in _cedar_errors(text, parts.with_actions(names)):
            number = numbers[place] if 0 <= place < len(numbers) else -1
            found.add((number, message))
            said.add((number, _apart(message)[0]))
        if len(said) > MAX_FINDINGS:
            break
    return found


def _portions(
    file: FileReading, groups: Mapping[frozenset[str] | None, Sequence[int]], parts: _Parts
) -> Iterator[tuple[frozenset[str] | None, list[int]]]:
    """Yield the policies of each group a few at a time: one that is wrong costs far more than a good one."""
    for names, numbers in groups.items():
        environments, cost = parts.environments(names), 0
        portion: list[int] = []
        for number in numbers:
            span = file.placed[number].statement
            cost += (span.end - span.start) * environments
            portion.append(number)
            if cost > _PORTION_COST:
                yield names, portion
                portion, cost = [], 0
        if portion:
            yield names, portion


def _cedar_errors(text: str, handle: cedarpy.Schema) -> set[tuple[int, str]]:
    result = cedarpy.validate_policies(text, handle, release_gil=True)
    seen = {(_number(error.policy_id), error.error) for error in result.errors}
    if not result.validation_passed and not seen:
        return {(-1, "The file does not validate.")}
    return seen


class _Parts:
    """One schema less the actions that a policy is not about; the last parts are kept parsed."""

    def __init__(self, schema: CedarSchema) -> None:
        self.schema = schema
        self._groups = {group for action in schema.actions.values() for group in action.groups}
        self._members: dict[frozenset[str], frozenset[str] | None] = {}
        self._handles: dict[frozenset[str], cedarpy.Schema] = {}

    def actions_of(self, body: Mapping[str, Any]) -> frozenset[str] | None:
        """Return the actions a policy is about, or None when that is any, or one that is not declared."""
        scope = body["action"]
        named = [scope["entity"]] if "entity" in scope else scope.get("entities", [])
        found = entities_in([named, body["conditions"]], suffix="Action")
        if not named or any(kind != _ACTION for kind, _ in {*map(uid_of, named), *found}):
            return None
        wanted = frozenset(identifier for _, identifier in found)
        if wanted not in self._members:
            self._members[wanted] = self._expand(wanted)
        return self._members[wanted]

    def _expand(self, wanted: frozenset[str]) -> frozenset[str] | None:
        """Return named actions with the members of named groups; None when a name is unknown."""
        actions = self.schema.actions
        members = frozenset(name for name, action in actions.items() if wanted & {name, *action.groups})
        return members if members and wanted <= members | self._groups else None

    def environments(self, names: frozenset[str] | None) -> int:
        """Return for how many pairs of principal and resource types Cedar checks a policy at most."""
        actions = self.schema.actions
        chosen = actions.values() if names is None else (actions[name] for name in names)
        return len(PRINCIPAL_TYPES) * sum(len(action.resource_types) for action in chosen)

    def with_actions(self, names: frozenset[str] | None) -> cedarpy.Schema:
        """Return the schema with these actions and all groups; None stands for the whole schema."""
        if names is None:
            return schema_handle(self.schema.text)
        if names not in self._handles:
            if len(self._handles) == _PARTS:
                self._handles.clear()
            self._handles[names] = cedarpy.Schema.from_str(self.schema.with_actions(names))
        return self._handles[names]


@lru_cache(maxsize=8)
def schema_handle(text: str) -> cedarpy.Schema:
    """Return Cedar's handle of a schema text; raises ValueError when it does not parse."""
    return cedarpy.Schema.from_str(text)


def _number(policy_id: str | None) -> int:
    digits = (policy_id or "").removeprefix("policy")
    return int(digits) if digits.isdigit() else -1


def _complaint(plain: str, schema_text: str, *, in_context: bool) -> _Complaint:
    unrecognized = _UNRECOGNIZED.fullmatch(plain)
    if unrecognized:
        return _unknown(unrecognized["what"], unrecognized["name"], schema_text)
    missing, optional = _ATTRIBUTE.fullmatch(plain), _OPTIONAL.fullmatch(plain)
    if missing:
        words = _missing(missing["path"], missing["type"] or ("context" if in_context else ""), schema_text)
        return _Complaint(words, missing["path"])
    if optional:
        path = optional["path"]
        return _Complaint(f"`{path}` may be absent; ask with `has` before it is read", path)
    quoted = _QUOTED.findall(plain)
    return _Complaint(plain, quoted[0] if quoted else "")


def _missing(path: str, owner: str, schema_text: str) -> str:
    where, _, name = path.rpartition(".")
    on = f" on `{where or owner}`" if where or owner else ""
    hint = did_you_mean(name, vocabulary(schema_text).attributes)
    return f"attribute `{name}` not found{on}{hint}"


def _unknown(what: str, name: str, schema_text: str) -> _Complaint:
    known = vocabulary(schema_text)
    if what == "entity type":
        hint = did_you_mean(name, known.types)
        return _Complaint(f"entity type `{name}` is not in the schema{hint}", name, _CODES[what])
    head, _, identifier = name.partition('::"')
    hint = did_you_mean(identifier[:-1], known.actions, shown=f'`{head}::"{{}}"`')
    return _Complaint(f"action `{name}` is not in the schema{hint}", name, _CODES[what])


def _listed(actions: Sequence[str]) -> str:
    names = sorted(set(actions))
    if not names:
        return ""
    more = f" and {len(names) - _ACTIONS_LISTED} more" if len(names) > _ACTIONS_LISTED else ""
    return f" (for the actions {', '.join(names[:_ACTIONS_LISTED])}{more})"


@lru_cache(maxsize=4)
def vocabulary(schema_text: str) -> Vocabulary:
    """Return the names that a schema in Cedar's own syntax declares; of any other text, none."""
    found = list(tokens(schema_text))
    types, actions, attributes = set(), set(), set()
    namespace = ""
    for index, token in enumerate(found):
        if token.text == "namespace":
            namespace = "".join(one.text for one in _until(found, index + 1, {"{"})) + "::"
        elif token.text == "entity":
            types |= {
                namespace + name for name in _names(_until(found, index + 1, {"in", "{", ";", "enum", "="}))
            }
        elif token.text == "action":
            actions |= set(_names(_until(found, index + 1, {"in", "appliesTo", ";"})))
        elif token.text == ":" and index:
            before = found[index - 2] if found[index - 1].text == "?" else found[index - 1]
            attributes |= set(_names([before]))
    return Vocabulary(frozenset(types), frozenset(actions), frozenset(attributes - _NOT_ATTRIBUTES))


def _until(found: Sequence[Token], start: int, ends: set[str]) -> Sequence[Token]:
    for index in range(start, len(found)):
        if found[index].text in ends:
            return found[start:index]
    return ()


def _names(found: Sequence[Token]) -> list[str]:
    kinds = (Kind.NAME, Kind.STRING)
    return [token.text.strip('"') for token in found if token.kind in kinds]
