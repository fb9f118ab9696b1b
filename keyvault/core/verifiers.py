"""
Describe how verifiers cache the JWK Sets that they fetch.

Source: docs/publishing.md, "What verifiers cache", collected from each project's source or documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Verifier:
    """
    A verifier with its default settings.

    Attributes:
        name: Its name, with the version that was checked.
        keeps: How long it uses a copy at most; None if it keeps the copy until an unknown kid.
        refetches: Whether an unknown kid makes it fetch before it rejects the token, however old its copy is, except
            within *pause*.
        pause: The minimum time between two fetches for unknown kids.
        heeds: Whether ``Cache-Control`` can make it keep a copy for longer than *keeps*.
        drops: Whether it drops an expired copy; if not, it uses an expired copy until it meets an unknown kid.
    """

    name: str
    keeps: timedelta | None
    refetches: bool
    pause: timedelta = timedelta(0)
    heeds: bool = False
    drops: bool = True

    def keeps_at_most(self, max_age: timedelta) -> timedelta | None:
        """Return how long it uses a copy if the host sends *max_age*."""
        return max(self.keeps, max_age) if self.heeds and self.keeps is not None else self.keeps

    def trusts_removed_keys_for(self, max_age: timedelta) -> timedelta | None:
        """Return how long it accepts a removed key if the host sends *max_age*; None: until an unknown kid."""
        keeps = self.keeps_at_most(max_age)
        # A cache between the host and the verifier may serve the old copy for another *max_age*.
        return keeps + max_age if keeps is not None and self.drops else None


_SECOND, _MINUTE, _HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

#: In the order of docs/publishing.md. A verifier whose refetching is unknown counts as one that does not refetch.
VERIFIERS = (
    Verifier("PyJWT 2.15", 5 * _MINUTE, True, 30 * _SECOND),
    Verifier("npm jose 6", 10 * _MINUTE, True, 30 * _SECOND),
    Verifier("npm jwks-rsa 4", 10 * _MINUTE, True),
    Verifier("express-oauth2-jwt-bearer 1.10", 10 * _MINUTE, True, 30 * _SECOND),
    Verifier("oauth4webapi 3, openid-client 6", 5 * _MINUTE, True, _MINUTE),
    Verifier("aws-jwt-verify 5", None, True, 10 * _SECOND),
    Verifier("oidc-provider 9.13", _MINUTE, False, heeds=True),
    Verifier("social-core 7", 24 * _HOUR, True),
    Verifier("cryptojwt 1.11", 5 * _MINUTE, False),
    Verifier("go-oidc v3", None, True),
    # On an unknown kid, it fetches only if its copy has expired.
    Verifier("go-oidc v2", timedelta(0), False, heeds=True, drops=False),
    Verifier("lestrrat jwk.Cache", 15 * _MINUTE, False, heeds=True),
    Verifier("keyfunc 3", _HOUR, True, 5 * _MINUTE),
    Verifier("auth0 go-jwt-middleware 2.3", _MINUTE, False),
    Verifier("fosite 0.49", _HOUR, True),
    Verifier("Nimbus, Spring Security", 5 * _MINUTE, True, 30 * _SECOND),
    Verifier("auth0 jwks-rsa for Java 0.23", 10 * _HOUR, True),
    Verifier("smallrye-jwt 4.6", _HOUR, True, 30 * _MINUTE),
    Verifier("Keycloak 26.4", None, True, 10 * _SECOND),
    # On an unknown kid, it rejects the token and fetches for the next request.
    Verifier("Microsoft.IdentityModel 8", 13 * _HOUR, False),
    Verifier("Envoy, Istio", 20 * _MINUTE, False),
    Verifier("AWS API Gateway", 2 * _HOUR, False),
)

#: Verifiers that read the algorithms of an issuer when they start, and reject tokens with a new algorithm even if they
#: have fetched its key. Spring reads them from the keys of the set, the others from the discovery document.
KEEP_ALGORITHMS = ("Spring Security by issuer", "zitadel/oidc 3.52", "Authlib's client", "openid-client 6.9")
