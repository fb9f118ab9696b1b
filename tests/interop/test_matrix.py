"""
Real verifiers read rendered sites over HTTP: each algorithm, mixed sets, a rotation, a rollback, a revocation.

The programs are those of `tests.interop.programs`, each with the library's own cache; what they are expected to refuse
is in expected.toml. `make interop` runs this and writes docs/interop.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from keyvault.core.algorithms import ALGORITHMS
from keyvault.core.lint.consumers import CONSUMERS
from keyvault.core.lint.documents import Source, lint_jwk_set
from tests.interop import scenes
from tests.interop.expected import EXPECTED
from tests.interop.programs import PROJECTS, VERIFIERS, Process, Program, Verifier, published_at
from tests.interop.scenes import MIXED, SHARED, SPECS, Shown, Story, alg_of, issuer_of
from tests.interop.sites import Host, hosting
from tests.site.vaults import SITE

pytestmark = pytest.mark.interop


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return scenes.alone(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return scenes.crowd(tmp_path_factory.mktemp("crowd"))


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return scenes.story(tmp_path_factory.mktemp("story"))


def each_verifier() -> pytest.MarkDecorator:
    """Run a test for each verifier; that is slow."""
    return pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in VERIFIERS])


def knows(name: str) -> list[str]:
    """Return the algorithms of a mixed set that a verifier takes."""
    return [label for label in MIXED if label not in EXPECTED[name].refuses]


# --- each algorithm in a JWK Set of its own -------------------------------------------------------------------


@pytest.mark.parametrize("label", SPECS)
@each_verifier()
def test_an_algorithm(program: Program, alone: Shown, name: str, label: str) -> None:
    """
    A token verifies, or is refused with the expected message; with changed claims or a foreign key, it never verifies.
    """
    verifier, issuer = VERIFIERS[name], issuer_of(label)
    line = program(verifier)
    with hosting(secure=verifier.secure) as host:
        host.files = alone.site
        address = f"{host.url}/{published_at(issuer)}"
        with Process(line, verifier, address, issuer, [alg_of(label)], host.environ) as process:
            said = process.ask(alone.good[label])
            bad = {wrong: process.ask(token) for wrong, token in alone.bad[label].items()}

    assert_expected(said, name, label)
    assert all(bad.values()), f"accepted: {bad}"


def assert_expected(said: str, name: str, label: str) -> None:
    """Fail unless a verifier accepts the expected tokens, and refuses the others with the expected message."""
    refusal = EXPECTED[name].refuses.get(label)
    if refusal is None:
        assert said == "", f"{name} refuses {label}"
    elif said or not refusal.varies:
        assert said, f"{name} takes {label} now: out with it from expected.toml"
        assert refusal.says in said


# --- a set of all algorithms ------------------------------------------------------------------------------------


@each_verifier()
def test_all_algorithms_in_one_set(program: Program, crowd: Shown, name: str) -> None:
    """
    An algorithm that works alone works among all others, unless the whole set is lost; then lint names the verifier.
    """
    verifier, expected = VERIFIERS[name], EXPECTED[name]
    algs = sorted({alg_of(label) for label in SHARED})
    line = program(verifier)
    with hosting(secure=verifier.secure) as host:
        host.files = crowd.site
        with Process(line, verifier, jwks_uri(host), SITE, algs, host.environ) as process:
            said = {label: process.ask(token) for label, token in crowd.good.items()}

    if expected.crowd is None:
        assert {label for label, text in said.items() if text} == set(expected.refuses) & set(SHARED)
    else:
        assert all(said.values())
        assert all(expected.crowd.says in text for label, text in said.items() if label not in expected.refuses)
    lost = [label for label, text in said.items() if text and label not in expected.refuses]
    if lost and verifier.consumer:
        assert CONSUMERS[verifier.consumer].label in hurt_by_errors(crowd)


def hurt_by_errors(shown: Shown) -> set[str]:
    """Return the verifiers that lint's errors name for the JWK Set of a site."""
    found = lint_jwk_set(Source("it", shown.site[".well-known/jwks.json"], f"{SITE}/.well-known/jwks.json"))
    return {who for finding in found if finding.level == "error" for who in finding.hurts}


# --- a mixed set through a rotation, a rollback and a revocation ---------------------------------------------------


def jwks_uri(host: Host) -> str:
    return f"{host.url}/.well-known/jwks.json"


@dataclass(frozen=True)
class Reader:
    """A client that reads the JWK Set of a host, with one verifier."""

    line: list[str]
    verifier: Verifier
    host: Host

    def process(self) -> Process:
        return Process(self.line, self.verifier, jwks_uri(self.host), SITE, MIXED, self.host.environ)

    def afresh(self, story: Story, site: str, *signers: str) -> dict[str, dict[str, bool]]:
        """Deploy *site*, start a new process, and return its results for the tokens of *signers*."""
        self.host.files = story.sites[site]
        with self.process() as process:
            return {signer: self.asked(process, story, signer) for signer in signers}

    def asked(self, process: Process, story: Story, signer: str) -> dict[str, bool]:
        """Return which tokens of *signer* the *process* accepts, by alg."""
        return {label: not process.ask(token) for label, token in story.tokens[signer].items()}


@each_verifier()
def test_a_story(program: Program, story: Story, name: str) -> None:
    """
    A set of RSA, P-256 and Ed25519, with keys of every state, serves every verifier that supports one of them, after each step.

    Before a deploy they live on what they fetched; after it, a new process sees what the new site says.
    """
    verifier, expected = VERIFIERS[name], EXPECTED[name]
    good = {label: label in knows(name) for label in MIXED}
    none = dict.fromkeys(MIXED, False)
    line = program(verifier)
    with hosting(secure=verifier.secure) as host:
        reader = Reader(line, verifier, host)
        host.files = story.sites["mixed"]
        with reader.process() as process:
            assert reader.asked(process, story, "retiring") == good
            assert reader.asked(process, story, "active") == good
            # Rotated, but not deployed: verifiers hold the next keys already.
            assert reader.asked(process, story, "next") == good
        assert_fetches(host.asked[".well-known/jwks.json"], expected.asks)

        rotated = reader.afresh(story, "rotated", "retiring", "active", "next")
        assert rotated == {"retiring": none, "active": good, "next": good}
        assert reader.afresh(story, "back", "active", "next") == {"active": good, "next": good}
        revoked = reader.afresh(story, "revoked", "active", "next", "later")
        assert revoked == {"active": none, "next": good, "later": good}


def assert_fetches(count: int, asks: str) -> None:
    """Fail unless a verifier, or the program that fetches for it, sent the expected number of requests."""
    assert (count > 1) if asks.startswith("each") else (count == (2 if asks == "twice" else 1))


@contextmanager
def warm(program: Program, story: Story, name: str) -> Iterator[tuple[Reader, Process]]:
    """Give a verifier that has cached a mixed set, and whose host serves the site after the revocation."""
    verifier = VERIFIERS[name]
    line = program(verifier)
    with hosting(secure=verifier.secure) as host:
        reader = Reader(line, verifier, host)
        host.files = story.sites["mixed"]
        with reader.process() as process:
            assert reader.asked(process, story, "active") == {label: label in knows(name) for label in MIXED}
            host.files = story.sites["revoked"]
            yield reader, process


@pytest.fixture(scope="module")
def waiting(program: Program, story: Story) -> Iterator[Callable[[str], tuple[Reader, Process]]]:
    """
    Give those verifiers that wait after a fetch before they fetch for an unknown kid.

    All begin at the same time, so that it passes once for all of them.
    """
    found: dict[str, tuple[Reader, Process]] = {}
    with ExitStack() as stack:
        for name, verifier in VERIFIERS.items():
            if not EXPECTED[name].waits:
                continue
            try:
                program(verifier)
            except pytest.skip.Exception:
                continue
            found[name] = stack.enter_context(warm(program, story, name))
        begin = time.monotonic()

        def get(name: str) -> tuple[Reader, Process]:
            program(VERIFIERS[name])
            time.sleep(max(0, begin + EXPECTED[name].waits + 1 - time.monotonic()))
            return found[name]

        yield get


@pytest.fixture
def running(
    request: pytest.FixtureRequest, program: Program, story: Story, name: str
) -> Iterator[tuple[Reader, Process]]:
    """Give the verifier *name* as `warm` does, at a time when it fetches again if it ever does."""
    if EXPECTED[name].waits:
        yield request.getfixturevalue("waiting")(name)
    else:
        with warm(program, story, name) as found:
            yield found


@each_verifier()
def test_an_unknown_kid(running: tuple[Reader, Process], story: Story, name: str) -> None:
    """A running verifier fetches again for an unknown kid, if expected, and then drops a revoked key."""
    expected = EXPECTED[name]
    reader, process = running
    before = reader.host.asked[".well-known/jwks.json"]

    later = reader.asked(process, story, "later")
    refetched = reader.host.asked[".well-known/jwks.json"] > before
    unseen, seen = (any(reader.asked(process, story, signer).values()) for signer in ("again", "active"))

    assert later == {label: label in knows(name) and expected.refetches for label in MIXED}
    assert refetched == expected.refetches
    # Any: jwks-rsa has room for five keys.
    assert unseen != expected.forgets
    assert seen == ((unseen or expected.remembers) and not expected.single)


def test_lint_accepts_a_mixed_set(story: Story) -> None:
    """Lint finds nothing in a set that all these verifiers accept, except a note on EdDSA that names the others."""
    for site in story.sites.values():
        found = list(lint_jwk_set(Source("it", site[".well-known/jwks.json"], f"{SITE}/.well-known/jwks.json")))
        assert {(finding.level, finding.code) for finding in found} <= {("note", "eddsa"), ("note", "over-8-keys")}
        named = {who for finding in found if finding.code == "eddsa" for who in finding.hurts}
        lacking = {
            CONSUMERS[verifier.consumer].label
            for verifier in VERIFIERS.values()
            if verifier.consumer and "EdDSA" in EXPECTED[verifier.name].refuses
        }
        assert lacking <= named


@pytest.mark.parametrize("name", [name for name, verifier in VERIFIERS.items() if verifier.consumer])
def test_lint_knows_the_algorithms(name: str) -> None:
    """Lint's algorithms for a verifier are those that it accepts here; EdDSA means Ed25519."""
    refuses = EXPECTED[name].refuses
    clear = [label for label in SPECS if label != "EdDSA Ed448" and not (label in refuses and refuses[label].varies)]

    known = {label for label in clear if label in CONSUMERS[VERIFIERS[name].consumer].algs}
    assert known == {label for label in clear if label not in refuses}


def test_every_algorithm_is_there() -> None:
    """The matrix has every published signing algorithm, on each of its curves."""
    signing = [algorithm for algorithm in ALGORITHMS.values() if algorithm.use == "sig" and algorithm.kty != "oct"]

    assert {(spec.alg, spec.crv) for spec in SPECS.values()} == {
        (algorithm.name, curve) for algorithm in signing for curve in algorithm.curves or (None,)
    }


def test_every_project_has_a_verifier() -> None:
    assert {verifier.project for verifier in VERIFIERS.values()} == set(PROJECTS)
