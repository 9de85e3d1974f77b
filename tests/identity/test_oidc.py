from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings, strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from identity.oidc import (
    Client,
    OidcRefusedError,
    Provider,
    Reason,
    authorization_url,
    metadata_url,
    read_metadata,
    require_issuer,
    token_request,
    verify_id_token,
)
from tests.cast import NOW

ISSUER = "https://login.example.com"
CLIENT = Client(ISSUER, "palyra", "https://palyra.example.com/auth/callback/oidc", "s3cret of ours")
NONCE = "the nonce of this sign-in"
RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
P256 = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})
ED25519 = OKPKey.generate_key("Ed25519", {"kid": "ed", "use": "sig"})
PROVIDER = Provider(ISSUER, f"{ISSUER}/go", f"{ISSUER}/token", f"{ISSUER}/keys", False, "client_secret_basic")
METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/go",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
}
pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")


def keys(*held: Any) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in held or (RSA, P256, ED25519)]}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(NOW.timestamp())
    base = {"iss": ISSUER, "sub": "s-1", "aud": "palyra", "exp": now + 300, "iat": now, "nonce": NONCE}
    merged = base | changes
    return {name: value for name, value in merged.items() if value is not ...}


def signed(body: dict[str, Any], key: Any = RSA, algorithm: str = "RS256", **header: Any) -> str:
    head = {"alg": algorithm, "kid": key.kid} | header
    return jwt.encode({k: v for k, v in head.items() if v is not None}, body, key, algorithms=[algorithm])


def verify(text: object, published: dict[str, Any] | None = None, **more: Any) -> Any:
    answer = {"id_token": text, "access_token": "opaque"} | more
    return verify_id_token(answer, published or keys(), client=CLIENT, nonce=NONCE, now=NOW)


def refusal(text: object, published: dict[str, Any] | None = None, **more: Any) -> Reason:
    with pytest.raises(OidcRefusedError) as caught:
        verify(text, published, **more)
    assert caught.value.status == 400
    return caught.value.reason


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (RSA, "PS256"), (P256, "ES256"), (ED25519, "EdDSA"), (ED25519, "Ed25519")],
)
def test_each_asymmetric_algorithm_proves_a_subject(key: Any, algorithm: str) -> None:
    proved = verify(signed(claims(email="a@example.com", email_verified=True, name="Ana"), key, algorithm))
    assert (proved.issuer, proved.subject, proved.email, proved.name) == (
        ISSUER,
        "s-1",
        "a@example.com",
        "Ana",
    )
    assert proved.multi_factor is False


def test_a_key_without_an_id_and_a_token_without_one_still_fit() -> None:
    published = keys(P256, OTHER_RSA, RSA)
    for key in published["keys"]:
        del key["kid"]
    assert verify(signed(claims(), kid=None), published).subject == "s-1"


def unsigned(algorithm: str, body: dict[str, Any], signature: bytes = b"") -> str:
    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    head = json.dumps({"alg": algorithm, "kid": "rsa"}).encode()
    return ".".join([part(head), part(json.dumps(body).encode()), part(signature)])


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "HS512", "RS1", "", "ES256K"])
def test_no_other_algorithm_counts(algorithm: str) -> None:
    assert refusal(unsigned(algorithm, claims(), b"x" * 32)) is Reason.SIGNATURE


def test_the_public_key_is_no_shared_secret() -> None:
    """The classic confusion: HS256 with the text of the public key."""
    for secret in (RSA.as_pem(private=False), json.dumps(RSA.as_dict(private=False)).encode()):
        head = unsigned("HS256", claims()).removesuffix(".")
        mac = hmac.digest(secret, head.encode(), "sha256")
        text = f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert refusal(text) is Reason.SIGNATURE


def test_a_shared_secret_among_the_published_keys_signs_nothing() -> None:
    secret = OctKey.generate_key(256, {"kid": "oct"})
    published = {"keys": [secret.as_dict(private=True)]}
    assert refusal(signed(claims(), secret, "HS256"), published) is Reason.SIGNATURE


def test_a_signature_by_another_key_under_the_same_id_is_none() -> None:
    assert refusal(signed(claims(), OTHER_RSA)) is Reason.SIGNATURE


def test_a_short_rsa_key_signs_nothing() -> None:
    short = RSAKey.generate_key(1024, {"kid": "rsa", "use": "sig"})
    assert refusal(signed(claims(), short), keys(short)) is Reason.SIGNATURE


def test_an_encryption_key_signs_nothing() -> None:
    key = RSAKey.generate_key(2048, {"kid": "enc"})
    published = keys(key)
    published["keys"][0]["use"] = "enc"
    assert refusal(signed(claims(), key), published) is Reason.SIGNATURE


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_changing_any_character_ends_in_a_refusal(data: st.DataObject) -> None:
    text = signed(claims())
    place = data.draw(st.integers(0, len(text) - 2))
    sign = data.draw(st.sampled_from("Ab9_-.="))
    changed = text[:place] + sign + text[place + 1 :]
    if changed != text:
        refusal(changed)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://login.example.com/"},
        {"iss": "https://evil.example.com"},
        {"iss": ...},
        {"aud": "another"},
        {"aud": ["palyra", "another"]},
        {"aud": []},
        {"aud": ...},
        {"aud": ["palyra", "palyra"]},
        {"azp": "another"},
        {"nonce": "another"},
        {"nonce": ...},
        {"nonce": ""},
        {"nonce": None},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"sub": None},
        {"sub": "s" * 256},
        {"sub": "s\0"},
        {"exp": ...},
        {"exp": "never"},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": True},
        {"iat": ...},
        {"iat": int(NOW.timestamp()) + 61},
        {"nbf": int(NOW.timestamp()) + 61},
        {"exp": int(NOW.timestamp()) - 60},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"amr": "mfa"},
    ],
)
def test_a_claim_that_is_not_as_it_must_be_refuses_the_whole(changes: dict[str, Any]) -> None:
    assert refusal(signed(claims(**changes))) is Reason.CLAIMS


def test_clocks_may_differ_by_a_minute() -> None:
    now = int(NOW.timestamp())
    assert verify(signed(claims(exp=now - 59, iat=now + 60, nbf=now + 60))).subject == "s-1"


def test_one_audience_may_come_in_a_list_and_the_access_token_may_be_bound() -> None:
    half = base64.urlsafe_b64encode(hashlib.sha256(b"opaque").digest()[:16]).rstrip(b"=").decode()
    assert verify(signed(claims(aud=["palyra"], at_hash=half))).subject == "s-1"


@pytest.mark.parametrize("verified", [..., False, None, "true", 1, "false"])
def test_an_email_counts_only_when_the_provider_says_that_it_is_verified(verified: object) -> None:
    assert verify(signed(claims(email="a@example.com", email_verified=verified))).email == ""


@pytest.mark.parametrize(
    ("methods", "several"), [(["pwd", "mfa"], True), (["otp"], False), ([], False), (None, False)]
)
def test_several_factors_are_what_amr_says_word_for_word(methods: object, several: bool) -> None:
    assert verify(signed(claims(amr=methods))).multi_factor is several


@pytest.mark.parametrize(
    "text", [None, "", 7, "a", "a.b", "a.b.c", "....", "e30.e30.", "é.é.é", "a" * 20000, {"a": 1}, "[" * 5000]
)
def test_what_is_no_token_is_refused(text: object) -> None:
    assert refusal(text) in (Reason.TOKEN, Reason.SIGNATURE)


@pytest.mark.parametrize("published", [{"no": "keys"}, {"keys": {}}, {"keys": "x"}])
def test_a_provider_without_keys_proves_nothing(published: dict[str, Any]) -> None:
    assert refusal(signed(claims()), published) is Reason.PROVIDER


@pytest.mark.parametrize(
    "junk", [None, 7, "x", {}, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": 2}, {"kty": []}]
)
def test_a_key_that_cannot_be_read_is_passed_over(junk: object) -> None:
    published = {"keys": [junk, RSA.as_dict(private=False)]}
    assert verify(signed(claims()), published).subject == "s-1"


def test_the_request_shows_the_provider_the_challenge_and_never_the_verifier() -> None:
    verifier = "v" * 86
    url = authorization_url(PROVIDER, CLIENT, state="st", nonce=NONCE, verifier=verifier)
    sent = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert url.startswith(f"{ISSUER}/go?")
    assert sent == {
        "response_type": "code",
        "client_id": "palyra",
        "redirect_uri": CLIENT.redirect_uri,
        "scope": "openid email profile",
        "state": "st",
        "nonce": NONCE,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    assert verifier not in url
    assert CLIENT.secret not in url


def test_the_code_goes_out_with_verifier_and_secret() -> None:
    headers, body = token_request(PROVIDER, CLIENT, code="c&=", verifier="v" * 43)
    assert parse_qs(body) == {
        "grant_type": ["authorization_code"],
        "code": ["c&="],
        "redirect_uri": [CLIENT.redirect_uri],
        "code_verifier": ["v" * 43],
    }
    expected = base64.b64encode(b"palyra:s3cret of ours").decode()
    assert headers["Authorization"] == f"Basic {expected}"


@pytest.mark.parametrize(
    ("offered", "secret", "method"),
    [
        (None, "s", "client_secret_basic"),
        (["client_secret_post"], "s", "client_secret_post"),
        (["client_secret_post", "client_secret_basic"], "s", "client_secret_basic"),
        (["private_key_jwt"], "s", "client_secret_basic"),
        ("client_secret_post", "s", "client_secret_basic"),
        (None, "", "none"),
    ],
)
def test_the_client_proves_itself_as_the_provider_asks(offered: object, secret: str, method: str) -> None:
    document = METADATA | {"token_endpoint_auth_methods_supported": offered}
    client = Client(ISSUER, "palyra", CLIENT.redirect_uri, secret)
    provider = read_metadata(document, client)
    assert provider.auth_method == method
    headers, body = token_request(provider, client, code="c", verifier="v")
    assert ("Authorization" in headers) is (method == "client_secret_basic")
    assert ("client_secret" in parse_qs(body)) is (method == "client_secret_post")


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    "url", [None, 7, "", "http://login.example.com/x", "http://127.0.0.1/x", "https://u@h/", "/x"]
)
def test_an_endpoint_that_is_not_safe_refuses_the_provider(name: str, url: object) -> None:
    with pytest.raises(OidcRefusedError) as caught:
        read_metadata(METADATA | {name: url}, CLIENT)
    assert caught.value.reason is Reason.PROVIDER


@pytest.mark.parametrize("issuer", [None, "", ISSUER + "/", "https://evil.example.com", [ISSUER]])
def test_a_document_of_another_issuer_is_refused(issuer: object) -> None:
    with pytest.raises(OidcRefusedError) as caught:
        read_metadata(METADATA | {"issuer": issuer}, CLIENT)
    assert caught.value.reason is Reason.ISSUER


def test_plain_endpoints_are_for_a_plain_issuer_on_this_machine() -> None:
    local = Client("http://127.0.0.1:9400", "palyra", CLIENT.redirect_uri)
    document = {name: url.replace(ISSUER, local.issuer) for name, url in METADATA.items()}
    assert read_metadata(document, local).token_endpoint == "http://127.0.0.1:9400/token"
    with pytest.raises(OidcRefusedError):
        read_metadata(document | {"jwks_uri": "http://10.0.0.1/keys"}, local)


@pytest.mark.parametrize(
    ("announced", "given_issuer", "holds"),
    [
        (True, ISSUER, True),
        (True, None, False),
        (True, ISSUER + "/", False),
        (False, None, True),
        (False, ISSUER, True),
        (False, "https://evil.example.com", False),
    ],
)
def test_the_answer_comes_from_the_provider_that_was_asked(
    announced: bool, given_issuer: str | None, holds: bool
) -> None:
    document = METADATA | {"authorization_response_iss_parameter_supported": announced}
    provider = read_metadata(document, CLIENT)
    if holds:
        require_issuer(provider, given_issuer)
        return
    with pytest.raises(OidcRefusedError) as caught:
        require_issuer(provider, given_issuer)
    assert caught.value.reason is Reason.ISSUER


def test_discovery_lies_below_the_issuer_whatever_its_last_sign() -> None:
    expected = "https://a.example.com/t/.well-known/openid-configuration"
    assert metadata_url("https://a.example.com/t") == metadata_url("https://a.example.com/t/") == expected


def test_the_secret_shows_nowhere() -> None:
    assert CLIENT.secret not in repr(CLIENT)


def test_a_minute_later_the_token_is_over() -> None:
    text = signed(claims(exp=int(NOW.timestamp())))
    with pytest.raises(OidcRefusedError):
        verify_id_token(
            {"id_token": text}, keys(), client=CLIENT, nonce=NONCE, now=NOW + timedelta(seconds=60)
        )
