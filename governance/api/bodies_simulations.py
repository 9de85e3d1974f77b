"""The request bodies of simulations, shadows and jobs."""

from __future__ import annotations

from governance.api.strict import Body, Flag, Moment, Text, Whole
from policy.simulation import MAX_RECORDS


class SimulateBody(Body):
    n = Whole(required=False, min_value=1, max_value=MAX_RECORDS)
    since = Moment(required=False)
    agent = Text(required=False, max_length=40)
    tool = Text(required=False, max_length=64)


class ShadowBody(Body):
    enabled = Flag()


class NothingBody(Body):
    """A verb that takes no arguments."""
