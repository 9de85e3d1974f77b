"""Gate 4: the codes in their order, the digest of the stored bytes, and that any error denies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, transaction

from kernel.errors import ConflictError
from kernel.record import Actor
from sandbox.skills import selectors
from sandbox.skills.builtin.echo import ECHO, echo_module
from sandbox.skills.lifecycle import ALLOWED, QUARANTINE_CODES, GateCode, SkillStatus, refusal_of
from sandbox.skills.models import SkillBlob, SkillPublisher, SkillVersion
from sandbox.skills.services import install_builtin_skill
from sandbox.skills.types import BuiltinSkill, SkillGateDecision, Verdict
from tests.builders import RecordedEvents

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BOOTSTRAP = Actor(kind="system", id="system", auth="none", surface="shell")
INPUT = {"text": "hello"}


def install(
    skill: BuiltinSkill = ECHO, module: bytes | None = None, record: RecordedEvents | None = None
) -> SkillVersion:
    return install_builtin_skill(
        skill=skill,
        module=module or echo_module(),
        actor=BOOTSTRAP,
        now=NOW,
        record=record or RecordedEvents(),
    )


def judge(tool_name: str = "local.echo", raw_input: object = INPUT) -> SkillGateDecision:
    return selectors.gate(tool_name=tool_name, raw_input=raw_input, workspace_id="wsp_x", now=NOW)


def test_recalled_is_final_and_an_unknown_status_never_passes() -> None:
    assert SkillStatus.RECALLED not in ALLOWED
    assert refusal_of("active") is None
    assert all(refusal_of(status) for status in set(SkillStatus) - {SkillStatus.ACTIVE})
    assert refusal_of("Active") is GateCode.GATE_FAILED


@pytest.mark.django_db
class TestGate:
    def test_tool_of_no_skill_is_not_applicable_and_passes(self) -> None:
        decision = judge("fs.read")
        assert (decision.verdict, decision.code) == (Verdict.PASS, GateCode.NOT_APPLICABLE)
        assert selectors.resolve("fs.read") is None

    def test_installed_skill_passes_with_its_identity(self) -> None:
        version = install()
        decision = judge()
        assert (decision.verdict, decision.code) == (Verdict.PASS, GateCode.OK)
        assert (decision.skl_id, decision.payload_digest) == (version.id, version.payload_digest)
        assert (decision.skill_id, decision.version, decision.publisher) == ("local.echo", "1.0.0", "local")
        assert decision.to_json()["code"] == "skill.ok"

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            ("recalled", GateCode.RECALLED),
            ("quarantined", GateCode.QUARANTINED),
            ("disabled", GateCode.DISABLED),
            ("staged", GateCode.STAGED),
        ],
    )
    def test_version_that_is_not_active_is_denied_by_name(self, status: str, code: GateCode) -> None:
        install()
        reason = "operator" if status == "quarantined" else ""
        SkillVersion.objects.update(status=status, status_code=reason)
        assert (judge().verdict, judge().code) == (Verdict.DENY, code)

    def test_revoked_publisher_is_denied(self) -> None:
        install()
        SkillPublisher.objects.update(state="revoked")
        assert judge().code is GateCode.PUBLISHER_REVOKED

    def test_tool_below_a_skill_that_does_not_declare_it_is_unknown(self) -> None:
        install()
        assert judge("local.echo.other").code is GateCode.TOOL_UNKNOWN
        assert judge("local.echo.a.b").code is GateCode.NOT_APPLICABLE

    @pytest.mark.parametrize(
        "raw_input", [{}, {"text": 1}, {"text": "a", "more": 1}, {"text": "x" * 4097}, [], None, "text"]
    )
    def test_input_outside_the_tools_schema_is_denied(self, raw_input: object) -> None:
        install()
        assert judge(raw_input=raw_input).code is GateCode.INPUT_INVALID

    def test_tool_that_asks_for_a_capability_is_unbound(self) -> None:
        install(replace(ECHO, tool=replace(ECHO.tool, uses=("http:api",))))
        assert judge().code is GateCode.CAPABILITY_UNBOUND

    def test_changed_module_bytes_are_denied(self) -> None:
        install()
        SkillBlob.objects.update(bytes=echo_module() + b"\x00\x03\x01a")
        assert (judge().verdict, judge().code) == (Verdict.DENY, GateCode.CHANGED)

    def test_changed_manifest_is_denied(self) -> None:
        version = install()
        version.manifest["limits"]["fuel"] = 10**12
        version.save(update_fields=["manifest"])
        assert judge().code is GateCode.CHANGED

    def test_missing_bytes_are_denied(self) -> None:
        install()
        SkillBlob.objects.all().delete()
        assert judge().code is GateCode.CHANGED

    def test_manifest_that_cannot_be_read_fails_the_gate(self) -> None:
        install()
        SkillVersion.objects.update(manifest={"tools": "none"})
        decision = judge()
        assert (decision.verdict, decision.code) == (Verdict.DENY, GateCode.GATE_FAILED)

    def test_database_error_fails_the_gate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(name: str) -> None:
            raise RuntimeError(name)

        monkeypatch.setattr(selectors, "_skill_of", broken)
        assert (judge().verdict, judge().code) == (Verdict.DENY, GateCode.GATE_FAILED)


@pytest.mark.django_db
class TestClaim:
    def again(self, version: SkillVersion) -> SkillGateDecision:
        return selectors.gate_again(
            skl_id=version.id,
            payload=version.payload_digest,
            tool_name="local.echo",
            raw_input=INPUT,
            workspace_id="wsp_x",
            now=NOW,
        )

    def test_same_version_passes_again_and_its_module_loads(self) -> None:
        version = install()
        assert self.again(version).code is GateCode.OK
        loaded = selectors.load_module(
            tool_name="local.echo", skl_id=version.id, payload=version.payload_digest
        )
        assert loaded.module == echo_module()
        assert loaded.limits.fuel == 10_000_000

    def test_other_version_became_active_meanwhile(self) -> None:
        old = install()
        install(replace(ECHO, version="1.0.1", release=2))
        assert self.again(old).code is GateCode.CHANGED
        with pytest.raises(selectors.SkillChangedError):
            selectors.load_module(tool_name="local.echo", skl_id=old.id, payload=old.payload_digest)

    def test_disabled_meanwhile_is_denied(self) -> None:
        version = install()
        SkillVersion.objects.update(status="disabled")
        assert self.again(version).code is GateCode.DISABLED

    def test_tampered_bytes_do_not_load(self) -> None:
        version = install()
        SkillBlob.objects.update(bytes=b"\x00asm\x01\x00\x00\x00")
        with pytest.raises(selectors.SkillChangedError):
            selectors.load_module(tool_name="local.echo", skl_id=version.id, payload=version.payload_digest)

    @pytest.mark.parametrize(("tool", "skl"), [("local.echo.x", None), ("local.echo", "skl_unknown")])
    def test_unknown_tool_or_version_does_not_load(self, tool: str, skl: str | None) -> None:
        version = install()
        with pytest.raises(selectors.SkillChangedError):
            selectors.load_module(tool_name=tool, skl_id=skl or version.id, payload=version.payload_digest)


@pytest.mark.django_db
class TestInstall:
    def test_first_install_trusts_the_publisher_and_activates(self) -> None:
        events = RecordedEvents()
        version = install(record=events)
        assert (version.status, version.source, version.trust) == ("active", "bootstrap", "allowlisted")
        assert events.names == ["publisher.trusted", "skill.installed", "skill.activated"]

    def test_same_bytes_again_change_nothing(self) -> None:
        first = install()
        events = RecordedEvents()
        assert install(record=events) == first
        assert events.names == []

    def test_other_bytes_under_a_known_version_are_refused(self) -> None:
        install()
        with pytest.raises(ConflictError, match=r"skill\.version_exists"):
            install(module=echo_module() + b"\x00\x03\x01a")

    def test_older_release_is_refused(self) -> None:
        install(replace(ECHO, version="1.1.0", release=3))
        with pytest.raises(ConflictError, match=r"skill\.release_rollback"):
            install(replace(ECHO, version="1.1.1", release=3))

    def test_newer_release_supersedes_the_active_one(self) -> None:
        old = install()
        events = RecordedEvents()
        new = install(replace(ECHO, version="1.0.1", release=2), record=events)
        old.refresh_from_db()
        assert (old.status, old.status_code, new.status) == ("disabled", "superseded", "active")
        assert events.names == ["skill.installed", "skill.disabled", "skill.activated"]

    def test_only_the_local_publisher_is_built_in(self) -> None:
        with pytest.raises(ConflictError, match=r"skill\.publisher_changed"):
            install(replace(ECHO, skill_id="acme.echo"))

    @pytest.mark.parametrize(
        "changes",
        [
            {"status": "quarantined", "status_code": ""},
            {"status": "active", "status_code": sorted(QUARANTINE_CODES)[0]},
        ],
    )
    def test_database_ties_quarantine_to_its_codes(self, changes: dict[str, str]) -> None:
        install()
        with pytest.raises(IntegrityError), transaction.atomic():
            SkillVersion.objects.update(**changes)

    def test_database_allows_one_active_version(self) -> None:
        install()
        install(replace(ECHO, version="1.0.1", release=2))
        with pytest.raises(IntegrityError), transaction.atomic():
            SkillVersion.objects.update(status="active", status_code="")
