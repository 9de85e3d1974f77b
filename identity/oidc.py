"""OpenID Connect as a relying party sees it (OpenID Connect Core 1.0, code flow). No input or output.

What the provider sent is judged here; `oidc_http.py` fetches it. Anything that is not as it must be is an
`OidcRefusedError` with a reason for the journal and a sentence for the person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from identity.endpoints import is_plain_loopback, is_usable_url
from kernel.errors import MalformedError

SCOPE = "openid email profile"
LEEWAY_SECONDS = 60
KEY_TYPES: dict[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {
    "RS256": RSAKey,
    "PS256": RSAKey,
    "ES256": ECKey,
    "EdDSA": OKPKey,
    "Ed25519": OKPKey,
}
"""The signatures that count, and the kind of key behind each. All are asymmetric."""
_MOST_KEYS = 32
_LONGEST_TOKEN = 16384
_LONGEST_CLAIM = 255
_SHORTEST_RSA_BITS = 2048
_UNREADABLE = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class Reason(StrEnum):
    """Why a sign-in through the provider failed. The journal and the log get it, the person a sentence."""

    PROVIDER = "oidc_provider"
    PROVIDER_ERROR = "oidc_provider_error"
    STATE = "oidc_state"
    ISSUER = "oidc_issuer"
    TOKEN = "oidc_token"
    SIGNATURE = "oidc_signature"
    CLAIMS = "oidc_claims"
    NOT_LINKED = "oidc_not_linked"
    PERSON = "oidc_person"


class OidcRefusedError(MalformedError):
    """400 `oidc_failed`: what came back from the browser or the provider is not a proof of anybody."""

    default_code = "oidc_failed"

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        super().__init__("oidc_failed", detail)


@dataclass(frozen=True, slots=True)
class Client:
    """Palyra as the provider knows it. Without a secret it is a public client that relies on PKCE."""

    issuer: str
    client_id: str
    redirect_uri: str
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Provider:
    """What discovery said of the provider. `announces_issuer` is RFC 9207."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    announces_issuer: bool
    auth_method: str


@dataclass(frozen=True, slots=True)
class ProvedIdentity:
    """Who the provider says it is. `email` is empty unless the provider verified it."""

    issuer: str
    subject: str
    email: str
    name: str
    multi_factor: bool


def metadata_url(issuer: str) -> str:
    """Return where a provider publishes its configuration (OpenID Connect Discovery 1.0, section 4)."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def read_metadata(document: Mapping[str, Any], client: Client) -> Provider:
    """Return the provider of a discovery document, or refuse one of another issuer or with unsafe URLs."""
    if document.get("issuer") != client.issuer:
        raise OidcRefusedError(Reason.ISSUER, "The provider describes itself as another issuer.")
    plain = is_plain_loopback(client.issuer)
    found = {name: document.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    for name, url in found.items():
        if not isinstance(url, str) or not is_usable_url(url, plain_loopback=plain):
            raise OidcRefusedError(Reason.PROVIDER, f"The provider's {name} is not a usable address.")
    return Provider(
        issuer=client.issuer,
        authorization_endpoint=str(found["authorization_endpoint"]),
        token_endpoint=str(found["token_endpoint"]),
        jwks_uri=str(found["jwks_uri"]),
        announces_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        auth_method=_auth_method(document.get("token_endpoint_auth_methods_supported"), client),
    )


def _auth_method(offered: object, client: Client) -> str:
    if not client.secret:
        return "none"
    if isinstance(offered, list) and "client_secret_basic" not in offered and "client_secret_post" in offered:
        return "client_secret_post"
    return "client_secret_basic"


def authorization_url(provider: Provider, client: Client, *, state: str, nonce: str, verifier: str) -> str:
    """Return where the browser goes; the provider learns the verifier's SHA-256 only (RFC 7636)."""
    return str(
        prepare_grant_uri(
            provider.authorization_endpoint,
            client.client_id,
            "code",
            redirect_uri=client.redirect_uri,
            scope=SCOPE,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
    )


def token_request(
    provider: Provider, client: Client, *, code: str, verifier: str
) -> tuple[dict[str, str], str]:
    """Return headers and body of the request that exchanges the code."""
    body = prepare_token_request(
        "authorization_code", redirect_uri=client.redirect_uri, code=code, code_verifier=verifier
    )
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    prove = ClientAuth(client.client_id, client.secret, provider.auth_method)
    _, headers, body = prove.prepare("POST", provider.token_endpoint, headers, body)
    return headers, str(body)


def require_issuer(provider: Provider, given: str | None) -> None:
    """Refuse an answer of another server (RFC 9207); `given` is the parameter `iss` of the callback."""
    if given is None and not provider.announces_issuer:
        return
    if given != provider.issuer:
        raise OidcRefusedError(Reason.ISSUER, "The answer came from another provider.")


def verify_id_token(
    answer: Mapping[str, Any], keys: Mapping[str, Any], *, client: Client, nonce: str, now: datetime
) -> ProvedIdentity:
    """Return who the id token of a token answer names, once signature and every claim hold.

    `keys` is the provider's JWK set. Issuer, audience and nonce must be exactly ours, and the times right
    within a minute.
    """
    text = answer.get("id_token")
    if not isinstance(text, str) or len(text) > _LONGEST_TOKEN:
        raise OidcRefusedError(Reason.TOKEN, "The provider's answer holds no usable id token.")
    header, claims = _verified(text, _usable_keys(keys))
    _require_ours(header, claims, answer.get("access_token"), client, nonce, now)
    return _identity(claims)


def _verified(text: str, keys: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    header = _header(text)
    algorithm, kid = header.get("alg"), header.get("kid")
    kind = KEY_TYPES.get(algorithm) if isinstance(algorithm, str) else None
    if kind is None or not isinstance(algorithm, str):
        raise OidcRefusedError(Reason.SIGNATURE, "The id token is not signed by an asymmetric algorithm.")
    for key in keys:
        if kid is not None and key.get("kid") not in (None, kid):
            continue
        token = _opened(text, key, kind, algorithm)
        if token is not None:
            return token.header, token.claims
    raise OidcRefusedError(Reason.SIGNATURE, "The id token is not signed by a key of the provider.")


def _header(text: str) -> dict[str, Any]:
    """Read the header only to choose a key; nothing in it is believed before the signature holds."""
    try:
        return dict(jws.extract_compact(text.encode()).headers())
    except _UNREADABLE:
        raise OidcRefusedError(Reason.TOKEN, "The id token cannot be read.") from None


def _opened(
    text: str, jwk: Mapping[str, Any], kind: type[RSAKey] | type[ECKey] | type[OKPKey], algorithm: str
) -> jwt.Token | None:
    if jwk.get("kty") != kind.key_type or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        key = kind.import_key(dict(jwk))
        if isinstance(key, RSAKey) and key.raw_value.key_size < _SHORTEST_RSA_BITS:
            return None
        return jwt.decode(text, key, algorithms=[algorithm])
    except _UNREADABLE:
        return None


def _usable_keys(keys: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    listed = keys.get("keys")
    if not isinstance(listed, list):
        raise OidcRefusedError(Reason.PROVIDER, "The provider publishes no keys.")
    signing = [key for key in listed if isinstance(key, dict) and key.get("use", "sig") == "sig"]
    return signing[:_MOST_KEYS]


def _require_ours(
    header: dict[str, Any],
    claims: dict[str, Any],
    access_token: object,
    client: Client,
    nonce: str,
    now: datetime,
) -> None:
    if claims.get("aud") not in (client.client_id, [client.client_id]):
        raise OidcRefusedError(Reason.CLAIMS, "The id token was made for somebody else.")
    wanted = {"iss": {"essential": True, "value": client.issuer}}
    params = {"nonce": nonce, "client_id": client.client_id, "access_token": access_token}
    try:
        token = CodeIDToken(claims, header, options=wanted, params=params)
        token.validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
    except _UNREADABLE:
        raise OidcRefusedError(
            Reason.CLAIMS, "The id token is not the answer to this sign-in, or its time is over."
        ) from None


def _identity(claims: Mapping[str, Any]) -> ProvedIdentity:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_CLAIM or "\0" in subject:
        raise OidcRefusedError(Reason.CLAIMS, "The id token names nobody.")
    verified = claims.get("email_verified") is True
    methods = claims.get("amr")
    return ProvedIdentity(
        issuer=claims["iss"],
        subject=subject,
        email=_short(claims.get("email")) if verified else "",
        name=_short(claims.get("name")),
        multi_factor=isinstance(methods, list) and "mfa" in methods,
    )


def _short(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _LONGEST_CLAIM and "\0" not in value else ""
