"""Finding the earlier answer that covers a call: among ten thousand grants beside among ten, on SQLite.

Ten grants of the agent and the tool stay comparable throughout, and the last of them covers the call. The
others are of other agents and tools, ended ones of the same agent and tool, and a hundred active ones of
its other conversations, which only the search itself tells apart.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.installation import founded
from benchmarks.measuring import medians, report, show

if TYPE_CHECKING:
    from approvals.models import Grant
    from benchmarks.approving import Scene

TARGET = 1.5
FEW, MANY, ELSEWHERE = 10, 10_000, 100
ROUNDS, CYCLES = 200, 3


def main() -> None:
    with founded(in_memory=True) as ready:
        from approvals.models import ApprovalRequest, Grant  # noqa: PLC0415  # needs the setup
        from benchmarks.approving import scene  # noqa: PLC0415  # as above

        look, grant = _setup(scene(ready))
        samples: dict[str, list[float]] = {"few": [], "many": []}
        kept = set(Grant.objects.values_list("pk", flat=True))
        for _ in range(CYCLES):
            samples["few"].append(medians({"few": look}, rounds=ROUNDS, clock=time.thread_time)["few"])
            _add(grant)
            if Grant.objects.count() != MANY:
                raise SystemExit("there are not as many grants as are meant to be measured")
            samples["many"].append(medians({"many": look}, rounds=ROUNDS, clock=time.thread_time)["many"])
            Grant.objects.exclude(pk__in=kept).delete()
            ApprovalRequest.objects.filter(grants__isnull=True).delete()
    ours, reference = statistics.median(samples["many"]), statistics.median(samples["few"])
    found = {f"among {FEW}": reference, f"among {MANY}": ours}
    show("one lookup that finds its grant", found, f"among {FEW}")
    print(f"  by cycle: {[round(b / a, 2) for a, b in zip(samples['few'], samples['many'], strict=True)]}")
    report("grant_lookup", ours=ours, reference=reference, target=TARGET)


def _setup(scene: Scene) -> tuple[Callable[[], object], Grant]:
    """Return the lookup, which fails when it finds nothing, and a grant to make others of."""
    from approvals.lookup import resolve_cached_tool_approval_for_proposal  # noqa: PLC0415  # needs the setup
    from approvals.matching import GrantProposal  # noqa: PLC0415  # as above
    from approvals.models import Grant  # noqa: PLC0415  # as above
    from benchmarks.approving import INPUT, copy_rows  # noqa: PLC0415  # as above
    from kernel.clock import utc_now  # noqa: PLC0415  # as above

    view, grant = scene.granted()
    copy_rows(grant.request, FEW - 1, id="'apr_0' || n")
    copy_rows(grant, FEW - 1, id="'grt_0' || n", request_id="'apr_0' || n", rest_digest="'sha256:' || hex(n)")
    asked, run = grant.request, view.call.run
    proposal = GrantProposal(
        call_id="call_next",
        subject_type=grant.subject_type,
        tool=grant.tool,
        tool_definition_hash=grant.tool_definition_hash,
        obligations_digest=grant.obligations_digest,
        principal_id=grant.principal_id,
        owner_id=asked.requester_owner_id,
        workspace_id=grant.workspace_id,
        run_id=run.id,
        session_id=run.session_id or "",
        device_id=run.device_id,
        channel=run.channel,
        skill_id="",
        skill_digest="",
        tier=grant.tier_floor,
        egress_mode=grant.egress_mode,
        risk=grant.risk_ceiling,
        parameters=INPUT,
    )

    def look() -> object:
        match = resolve_cached_tool_approval_for_proposal(proposal=proposal, now=utc_now())
        if match is None or match.grant.pk != grant.pk:
            raise SystemExit("the grant was not found")
        return match

    if Grant.objects.count() != FEW:
        raise SystemExit("the benchmark does not begin with as many grants as it says")
    look()
    return look, grant


def _add(grant: Grant) -> None:
    from benchmarks.approving import copy_rows  # noqa: PLC0415  # needs the setup

    ended = (MANY - FEW) // 10
    copy_rows(grant.request, MANY - FEW, id="'apr_1' || n")
    copy_rows(
        grant,
        ELSEWHERE,
        id="'grt_1' || n",
        request_id="'apr_1' || n",
        scope="'session'",
        session_id="'ses_' || n",
        run_id="'run_' || n",
    )
    copy_rows(
        grant,
        ended,
        id="'grt_2' || n",
        request_id=f"'apr_1' || ({ELSEWHERE} + n)",
        status="CASE n % 2 WHEN 0 THEN 'expired' ELSE 'revoked' END",
    )
    copy_rows(
        grant,
        MANY - FEW - ELSEWHERE - ended,
        id="'grt_3' || n",
        request_id=f"'apr_1' || ({ELSEWHERE + ended} + n)",
        tool="CASE n % 3 WHEN 0 THEN tool ELSE 'tool.' || (n % 40) END",
        principal_id="'agt_' || (n % 90)",
    )


if __name__ == "__main__":
    main()
