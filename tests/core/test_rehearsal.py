"""
A rehearsal reports the effects of a policy on verifiers, and its verdict is right.

The reported gaps equal those computed by hand: what a verifier keeps, and the host's caches, less
the time for which the key was to be seen live.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from keyvault.core.policy import SitePolicy
from keyvault.core.rehearsal import Rehearsal, rehearse
from keyvault.core.verifiers import VERIFIERS
from tests.core.build import DAY, HOUR, MINUTE, SITE, set_policy
from tests.core.mutants import MUTANTS, replace_rule
from tests.docs.pages import read, sections

HOST = SitePolicy(SITE)


def planned(rehearsal: Rehearsal) -> dict[str, timedelta]:
    """Return the gaps after planned rotations, by verifier."""
    return {verdict.verifier.name: verdict.planned for verdict in rehearsal.verdicts if verdict.planned}


@pytest.mark.unmeasured
@pytest.mark.parametrize("spec", ["ES256", "RS256", "EdDSA"])
@pytest.mark.parametrize("period", [2 * DAY, 30 * DAY, 365 * DAY])
def test_the_default_lead_is_fine_for_all(spec: str, period: timedelta) -> None:
    """Whatever run or deploy fails, no token of a planned rotation fails anywhere."""
    rehearsal = rehearse(set_policy(spec=spec, cryptoperiod=period), HOST, schedules=60)

    assert rehearsal.fine
    assert planned(rehearsal) == {}
    assert rehearsal.rotations >= 200
    assert rehearsal.revocations > 10
    assert rehearsal.rollbacks > 10


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("lead", "broken"),
    [
        (13 * HOUR + 10 * MINUTE, set()),
        pytest.param(13 * HOUR, {"Microsoft.IdentityModel 8"}, marks=pytest.mark.slow),
        pytest.param(3 * HOUR, {"Microsoft.IdentityModel 8"}, marks=pytest.mark.slow),
        pytest.param(2 * HOUR + 10 * MINUTE, {"Microsoft.IdentityModel 8"}, marks=pytest.mark.slow),
        pytest.param(2 * HOUR, {"Microsoft.IdentityModel 8", "AWS API Gateway"}, marks=pytest.mark.slow),
    ],
)
def test_verifiers_that_a_short_lead_breaks(lead: timedelta, broken: set[str]) -> None:
    """Verifiers that keep a copy for longer, including the host's ten minutes, and no others."""
    rehearsal = rehearse(set_policy(publication_lead=lead), HOST, schedules=400)

    assert set(planned(rehearsal)) == broken
    assert rehearsal.fine is not bool(broken)


@pytest.mark.slow
def test_how_long_it_breaks_them() -> None:
    """At worst, the gap is the time by which the copy outlives the lead; runs are at least a minute apart."""
    rehearsal = rehearse(set_policy(publication_lead=3 * HOUR), HOST, schedules=400)

    gap = planned(rehearsal)["Microsoft.IdentityModel 8"]
    # A deploy is seen by the first run after it, which the key waits for as well.
    assert 10 * HOUR < gap <= 13 * HOUR + 10 * MINUTE - 3 * HOUR


@pytest.mark.slow
def test_without_proof_of_publication_a_failed_deploy_breaks_all() -> None:
    """With confirm = "commit", no fetch checks that the host serves the key."""
    rehearsal = rehearse(set_policy(publication_lead=3 * HOUR), SitePolicy(SITE, confirm="commit"), schedules=400)

    assert set(planned(rehearsal)) == {verifier.name for verifier in VERIFIERS}


def test_a_revoked_key_is_accepted_for_as_long_as_a_copy_is_kept() -> None:
    """And for as long as the host's caches serve the old set; some forget nothing by themselves."""
    verdicts = {
        verdict.verifier.name: verdict.revoked for verdict in rehearse(set_policy(), HOST, schedules=1).verdicts
    }

    assert verdicts["PyJWT 2.15"] == 15 * MINUTE
    assert verdicts["lestrrat jwk.Cache"] == 25 * MINUTE
    assert verdicts["auth0 jwks-rsa for Java 0.23"] == 10 * HOUR + 10 * MINUTE
    assert verdicts["oidc-provider 9.13"] == 20 * MINUTE
    assert {name for name, revoked in verdicts.items() if revoked is None} == {
        "aws-jwt-verify 5",
        "go-oidc v3",
        "go-oidc v2",
        "Keycloak 26.4",
    }
    hour = SitePolicy(SITE, max_age=HOUR)
    kept = {verdict.verifier.name: verdict.revoked for verdict in rehearse(set_policy(), hour, schedules=1).verdicts}
    assert kept["lestrrat jwk.Cache"] == 2 * HOUR


def test_the_same_policy_gets_the_same_verdict() -> None:
    """Chance is a number that is given."""
    first, second, other = (rehearse(set_policy(), HOST, schedules=20, seed=seed) for seed in (1, 1, 2))

    assert first == second
    assert first != other


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_it_catches_a_rule_that_is_wrong_by_little(
    name: str, mutant: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rehearsal of planners with a wrong timing rule does not say that all is fine."""
    replace_rule(monkeypatch, name, mutant)
    # The lead has no slack, so that one step too few shows.
    policy = set_policy(
        cryptoperiod=DAY, publication_lead=13 * HOUR + 10 * MINUTE, token_lifetime=MINUTE, signer_lag=3 * HOUR
    )

    assert not rehearse(policy, HOST, schedules=400).fine


def test_the_page_has_these_verifiers() -> None:
    """docs/publishing.md and the rehearsal know the same, in the same order."""
    table = sections(read("docs/publishing.md"))["What verifiers cache"]
    named = [
        re.sub(r"`.*?`| \(.*?\)| JWT authorizer", "", line.split("|")[1]).strip()
        for line in table.splitlines()
        if line.startswith("| ")
    ]

    assert [verifier.name for verifier in VERIFIERS] == named[1:]
