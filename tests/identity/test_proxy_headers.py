from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from identity.proxy_headers import CERTIFICATE, PROXY_ONLY, SECRET, forged_header

KNOWN = "a proxy secret of some length"
headers = st.dictionaries(st.sampled_from(PROXY_ONLY), st.text(max_size=40))


@given(headers, st.text(max_size=40))
def test_a_stranger_may_send_none_of_them_whatever_else_they_know(sent: dict[str, str], secret: str) -> None:
    found = forged_header(sent, peer_is_trusted=False, secret=secret)
    assert (found is None) is (not sent)
    assert found is None or found in sent


@given(headers.filter(lambda sent: sent.get(SECRET) != KNOWN))
def test_a_proxy_without_the_secret_says_nothing_of_certificates(sent: dict[str, str]) -> None:
    found = forged_header(sent, peer_is_trusted=True, secret=KNOWN)
    assert (found is None) is not (CERTIFICATE in sent or SECRET in sent)


@given(headers)
def test_without_a_secret_set_up_nothing_proves_a_proxy(sent: dict[str, str]) -> None:
    for given_secret in ("", None):
        tried = sent if given_secret is None else sent | {SECRET: given_secret}
        found = forged_header(tried, peer_is_trusted=True, secret="")
        assert (found is None) is not (CERTIFICATE in tried or SECRET in tried)


@pytest.mark.parametrize("name", PROXY_ONLY)
def test_a_proxy_with_the_secret_is_believed(name: str) -> None:
    sent = {name: "x", SECRET: KNOWN}
    assert forged_header(sent, peer_is_trusted=True, secret=KNOWN) is None


@pytest.mark.parametrize("given_secret", [KNOWN + " ", KNOWN[:-1], KNOWN.upper(), f"{KNOWN},{KNOWN}", "é"])
def test_a_secret_that_is_almost_right_is_wrong(given_secret: str) -> None:
    sent = {CERTIFICATE: "x", SECRET: given_secret}
    assert forged_header(sent, peer_is_trusted=True, secret=KNOWN) == CERTIFICATE


def test_an_ordinary_request_carries_none_of_them() -> None:
    assert forged_header({"Host": "localhost", "Accept": "*/*"}, peer_is_trusted=False, secret=KNOWN) is None
