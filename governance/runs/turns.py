"""Taking turns on a run: whoever changes one of its calls holds the run's row first.

Every event of a run counts on that row, so a transaction that locked anything else before it could
wait in a circle with another one.
"""

from __future__ import annotations

from approvals.models import ApprovalRequest, Grant
from governance.models import Run
from kernel.errors import NotFoundError
from sandbox.models import Execution


def hold_run(run_id: str) -> Run:
    """Return the run as it is now and keep others from changing its calls until the transaction ends.

    What was read of its calls before may be stale: read it again. Raises NotFoundError.
    """
    run = Run.objects.select_for_update().filter(id=run_id).first()
    if run is None:
        raise NotFoundError("run_not_found", "There is no such run.")
    return run


def hold_run_of_request(request_id: str) -> None:
    """As `hold_run`, for the run in which something was asked; does nothing when there is none."""
    for run_id in (
        ApprovalRequest.objects.filter(id=request_id).exclude(run_id="").values_list("run_id", flat=True)
    ):
        hold_run(run_id)


def hold_run_of_grant(grant_id: str) -> None:
    """As `hold_run`, for the run to which a grant is bound; does nothing when there is none."""
    for run_id in Grant.objects.filter(id=grant_id).exclude(run_id="").values_list("run_id", flat=True):
        hold_run(run_id)


def hold_run_of_execution(execution_id: str) -> None:
    """As `hold_run`, for the run of an execution; does nothing when there is no such execution."""
    for run_id in Execution.objects.filter(id=execution_id).values_list("run_id", flat=True):
        hold_run(run_id)
