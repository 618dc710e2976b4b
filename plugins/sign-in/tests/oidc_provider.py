"""A strict OpenID Connect provider that lies on request.

It refuses what OpenID Connect Core 1.0 (3.1.2.1, 3.1.3.2), RFC 6749 (4.1.3) and RFC 7636 (4.6) let
a provider refuse: an unregistered `redirect_uri`, a request without `openid`, `state`, `nonce` or an
S256 challenge, a wrong secret, a wrong verifier, and a code that was used before.
"""

import base64
import hashlib
import json
import time
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from joserfc.jws import JWSRegistry

from plugway.testing import ScriptedUpstream, respond

CLIENT, SECRET = "plugway", "a-secret-of-32-characters-in-all"
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "two", "use": "sig", "alg": "RS256"})


class Refused(Exception):
    """A request that the provider does not accept."""


class OidcProvider:
    """Signs in `person`, without asking; `lies` replace parts of what it says."""

    def __init__(self, **person):
        self.person = {"sub": "u-1", "email": "ann@example.com", "email_verified": True, **person}
        self.upstream = ScriptedUpstream(otherwise=self._answer)
        self.keys = [KEY]
        self.metadata, self.claims, self.header, self.token, self.userinfo = {}, {}, {}, {}, None
        """What is said instead; in claims, None leaves one out. `userinfo` is another person's."""
        self.sign_with = KEY
        self.down = self.garbage = self.denies = False
        self.redirects = set()
        self._codes = {}

    async def __aenter__(self):
        await self.upstream.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.upstream.__aexit__(*error)

    @property
    def issuer(self):
        return self.upstream.url

    def asked(self, path):
        """How often a path was requested."""
        return sum(urlsplit(one.path).path == path for one in self.upstream.requests)

    # ── what it answers ──────────────────────────────────────────────────────────────────────

    def _answer(self, request):
        if self.down:
            return respond(503, b"<html>down</html>", {"content-type": "text/html"})
        if self.garbage:
            return respond(200, b"\xff{", {"content-type": "application/json"})
        path = urlsplit(request.path).path
        query = dict(parse_qsl(urlsplit(request.path).query))
        try:
            if path == "/.well-known/openid-configuration":
                return respond(200, self._metadata())
            if path == "/jwks":
                return respond(200, KeySet(self.keys).as_dict(private=False))
            if path == "/authorize":
                return respond(302, b"", {"location": self.authorize(query)})
            if path == "/token":
                return respond(200, self._token(request))
            if path == "/userinfo":
                return respond(200, self._userinfo(request))
        except Refused as refused:
            return respond(400, {"error": str(refused)})
        return respond(404, {"error": "not_found"})

    def _metadata(self):
        said = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return {**said, **self.metadata}

    def authorize(self, query):
        """Where the provider sends the browser for this request."""
        if query.get("client_id") != CLIENT or query.get("redirect_uri") not in self.redirects:
            raise Refused("unauthorized_client")
        named = (
            query.get("response_type") == "code" and query.get("code_challenge_method") == "S256"
        )
        if not named or "openid" not in query.get("scope", "").split():
            raise Refused("invalid_request")
        if min(len(query.get(one, "")) for one in ("state", "nonce", "code_challenge")) < 20:
            raise Refused("invalid_request")
        if self.denies:
            answer = {"error": "access_denied", "error_description": "<b>no</b>"}
        else:
            code = f"code-{len(self._codes)}"
            self._codes[code] = query
            answer = {"code": code, "iss": self.issuer}
        return f"{query['redirect_uri']}?{urlencode({**answer, 'state': query['state']})}"

    def _token(self, request):
        form = dict(parse_qsl(request.body.decode()))
        if request.header("authorization") != _basic(CLIENT, SECRET):
            raise Refused("invalid_client")
        asked = self._codes.pop(form.get("code"), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if asked is None or _base64(digest) != asked["code_challenge"]:
            raise Refused("invalid_grant")
        if form.get("redirect_uri") != asked["redirect_uri"]:
            raise Refused("invalid_grant")
        if form.get("grant_type") != "authorization_code":
            raise Refused("unsupported_grant_type")
        said = {
            "access_token": "provider-token",
            "token_type": "Bearer",
            "expires_in": 60,
            "id_token": self._id_token(asked["nonce"]),
        }
        return {**said, **self.token}

    def _id_token(self, nonce):
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "exp": now + 300,
            "iat": now,
            "nonce": nonce,
            **self.person,
            **self.claims,
        }
        header = {"alg": "RS256", "kid": self.sign_with.kid, **self.header}
        kept = {name: value for name, value in claims.items() if value is not None}
        if header["alg"] == "none":
            return ".".join(_base64(json.dumps(part).encode()) for part in (header, kept)) + "."
        registry = JWSRegistry(algorithms=[header["alg"]])
        return jwt.encode(header, kept, self.sign_with, registry=registry)

    def _userinfo(self, request):
        if request.header("authorization") != "Bearer provider-token":
            raise Refused("invalid_token")
        return self.userinfo if self.userinfo is not None else self.person


def secret_as_key():
    """The client's secret as a key, for signatures that anybody with the secret can make."""
    return OctKey.import_key(SECRET)


def _basic(user, password):
    """RFC 6749, 2.3.1."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _base64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
