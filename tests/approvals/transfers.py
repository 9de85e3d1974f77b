"""One call with a parameter of every kind, patterns of all ops for it, and other calls beside it."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from approvals.patterns import EXACT, bind
from tests.approvals.shapes import PAY, bound

TRANSFER = {
    "recipient": "alice",
    "amount": 100,
    "copies": 2,
    "subject": "rent",
    "urgent": False,
    "site": "https://api.example.com/pay",
    "folder": "a/b/c",
    "currency": "EUR",
}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 200)
    | st.sampled_from([0.5, 1.0, -0.0, 2**60, float("nan")])
    | st.sampled_from(["", "a", "alice", "a/b/c", "a/b/d", "a/../b", "https://api.example.com/", "EUR"])
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TRANSFER, "x", "0"]), inner)
    ),
    max_leaves=6,
)
CHANGED = st.dictionaries(
    st.sampled_from([*TRANSFER, "extra"]),
    SCALARS
    | st.sampled_from(
        [
            "a/b/e",
            "a/b/e/f",
            "a/x",
            "bob",
            "USD",
            "https://api.example.com/x",
            "https://x.example.com",
            "text",
        ]
    ),
    max_size=3,
).map(lambda some: TRANSFER | some)

CONSTRAINTS: Mapping[str, tuple[tuple[object, ...], ...]] = {
    "/recipient": (("equals", "alice"), ("one_of", ["alice", "bob"]), ("one_of", ["alice", "bob", 1])),
    "/amount": (("lte", 100), ("lte", 150), ("range", {"gte": 50, "lte": 120}), ("one_of", [100, 7])),
    "/copies": (("any",), ("lte", 2), ("range", {"gte": 1, "lte": 2}), ("one_of", [1, 2])),
    "/subject": (("any",), ("one_of", ["rent", "text"])),
    "/urgent": (("any",), ("one_of", [True, False]), ("equals", False)),
    "/site": (
        ("host", "https://api.example.com"),
        ("host_suffix", "https://example.com"),
        ("host_suffix", "https://api.example.com"),
    ),
    "/folder": (("path_prefix", "a"), ("path_prefix", "a/b"), ("one_of", ["a/b/c", "a/b/d"])),
    "/currency": (("one_of", ["EUR", "USD"]),),
    "/extra": (("absent",),),
}


def _one_each(pointers: list[str]) -> st.SearchStrategy[tuple[tuple[object, ...], ...]]:
    return st.tuples(
        *(st.sampled_from([(pointer, *one) for one in CONSTRAINTS[pointer]]) for pointer in pointers)
    )


PATTERNS = st.lists(st.sampled_from(list(CONSTRAINTS)), max_size=4, unique=True).flatmap(_one_each)
WHOLE = bound(TRANSFER, PAY, rest="any")
WIDTHS = st.sampled_from([WHOLE, bind(EXACT, TRANSFER, PAY)]) | PATTERNS.map(
    lambda constraints: bound(TRANSFER, PAY, *constraints)
)
