"""The first start, and the signs of life of worker hosts."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction

from governance import bootstrapped, founding, idempotency
from governance.authority import SERVER, needs, require_verb
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.operations.signing_in import WRONG_CODE, accepted_factor
from identity.models import User
from identity.passwords import replace_password, require_strong
from identity.revocation import revoke_token
from identity.roles import Permission
from identity.selectors import has_factor
from identity.sessions import own_digest
from identity.types import Principal
from kernel.errors import AuthenticationError, ConflictError, RefusedError
from sandbox import services as sandbox
from sandbox.selection import Probe
from vault import services as vault


@needs(None)
def bootstrap(*, now: datetime) -> founding.Founded | None:
    """Found the installation once: keys first, then everything else in one transaction.

    Returns None when somebody exists already. Two starts at once end with one installation.
    """
    vault.ensure_ready(now=now)
    if User.objects.exists():
        return None
    try:
        with transaction.atomic(durable=True):
            return founding.found(now)
    except IntegrityError:
        return None


@needs(None)
def announce_worker(*, host: str, boot: str, probe: Probe, now: datetime) -> None:
    """Write a worker host's sign of life and what its probe found."""
    with transaction.atomic(durable=True):
        sandbox.store_probe(host=host, boot_id=boot, probe=probe, now=now)


@needs(Permission.TRUST_OPERATE)
def clear_bootstrap(
    *, principal: Principal, code: str, new_password: str, now: datetime, ticket: Ticket | None = None
) -> User | None:
    """End the credentials of the first start: a new password, no owner token, no bootstrap.json.

    For the owner whom the first start made, or somebody with `trust.operate`; `code` is one of that
    owner's own authenticator. Returns the owner, or None when nothing was left. Raises ConflictError
    `own_authenticator_required` while the seed of the first start is in force, AuthenticationError
    `step_up_required` for a wrong code, InvalidError at `/password` for a weak or unchanged one.
    """
    owner = bootstrapped.owner()
    _require_may_clear(principal, owner, now)
    if owner is None or not bootstrapped.is_left():
        idempotency.store(ticket, status=204, body={}, object_id=principal.id)
        return None
    if bootstrapped.seed_in_force() or not has_factor(owner.pk):
        raise ConflictError("own_authenticator_required", "Enrol an authenticator of your own first.")
    require_strong(owner, new_password)  # before the code is used up
    if accepted_factor(user=owner, code=code, client_ip=principal.client_ip, now=now) is None:
        with transaction.atomic(durable=True):
            record(event="step_up.failed", actor=principal.actor(), subject=owner.pk, now=now, data={})
        raise AuthenticationError("step_up_required", WRONG_CODE)
    with transaction.atomic(durable=True):
        cleared = _clear(principal, owner.pk, new_password, now)
        idempotency.store(ticket, status=204, body={}, object_id=owner.pk)
    # The database has forgotten them; a file that stays behind keeps the banner up.
    bootstrapped.credentials_file().unlink(missing_ok=True)
    return cleared


def _require_may_clear(principal: Principal, owner: User | None, now: datetime) -> None:
    """The owner's code is the fresh proof, so of the owner no other one is asked."""
    if owner is None or principal.id != owner.pk:
        require_verb(principal, Permission.TRUST_OPERATE, principal.workspace_id, now, resource=SERVER)
    elif Permission.TRUST_OPERATE not in principal.permissions:
        raise RefusedError("insufficient_scope", "This credential does not hold trust.operate.")


def _clear(principal: Principal, owner_id: str, new_password: str, now: datetime) -> User:
    user, actor = User.objects.select_for_update().get(pk=owner_id), principal.actor()
    replace_password(
        user=user, new=new_password, actor=actor, now=now, record=record, keep=own_digest(principal)
    )
    tokens = bootstrapped.live_tokens()
    for token_id in tokens:
        revoke_token(token_id=token_id, reason="bootstrap_cleared", actor=actor, now=now, record=record)
    data = {"tokens_revoked": len(tokens)}
    record(event="system.bootstrap_cleared", actor=actor, subject="system", now=now, data=data)
    return user
