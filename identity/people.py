"""Every write to people. Their roles are in `memberships.py`."""

from __future__ import annotations

import re
from datetime import datetime

from identity.authority import ANYWHERE, require_authority
from identity.inserting import insert, invalid
from identity.models import User
from identity.passwords import set_password
from identity.roles import Permission
from kernel.ids import new_id
from kernel.record import Actor, Record

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@-]{2,149}")


def create_user(
    *,
    username: str,
    password: str | None,
    display_name: str = "",
    email: str = "",
    actor: Actor,
    now: datetime,
    record: Record,
) -> User:
    """Create a person. Without a password they can never log in and never count as a second person.

    Raises InvalidError for a name or password outside the rules, ConflictError for a taken name.
    """
    require_authority(actor, Permission.USERS_MANAGE, ANYWHERE, now)
    if not _USERNAME.fullmatch(username):
        raise invalid("/username", "pattern", "Lower-case letters, digits and . _ @ - only; 3 to 150.")
    user = User(
        id=new_id("usr", now), username=username, display_name=display_name, email=email, created_at=now
    )
    set_password(user, password, now)
    insert(user, "This user name is taken.")
    record(
        event="user.created",
        actor=actor,
        subject=user.pk,
        now=now,
        data={"username": username, "can_log_in": user.can_log_in},
    )
    return user
