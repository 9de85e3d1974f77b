"""The tables of identity whose rows stay as they were written."""

from __future__ import annotations

from kernel.append_only import AppendOnly

GUARDED = (AppendOnly("identity_featureflagchange", (("id",),)),)
