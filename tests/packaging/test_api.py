"""The library, as a program that signs uses it."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import jwt
import pytest

import keyvault
from keyvault import GitError, IdentityError, KeyVaultError, Signer, UsageError, Vault, api
from keyvault.core.algorithms import key_spec
from keyvault.operations import keys, rotation
from tests.errors import fails
from tests.site.vaults import DAY, HOUR, MINUTE, SITE, T0, Lab, MakeVault

NO_WAIT = timedelta(0)
#: The tokens are signed at T0, whatever the machine's clock says.
NO_CLOCK = {"verify_iat": False, "verify_exp": False}


@pytest.fixture(autouse=True)
def at_t0(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set the library's clock to the instant at which vaults are created, and give a function that sets it."""

    def set_clock(instant: datetime) -> None:
        monkeypatch.setattr(api, "_now", lambda: instant)

    set_clock(T0)
    return set_clock


def opened(lab: Lab) -> Vault:
    return Vault.open(lab.folder, environ=lab.environ)


def parts(token: str) -> tuple[dict[str, object], dict[str, object]]:
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


# --- opening --------------------------------------------------------------------------------------------


def test_public_names_are_few() -> None:
    """``from keyvault import …`` has the vault, the signer and the errors, and each name exists."""
    assert sorted(keyvault.__all__) == keyvault.__all__
    for name in keyvault.__all__:
        assert getattr(keyvault, name) is not None
    assert all(issubclass(error, KeyVaultError) for error in (GitError, IdentityError, UsageError))
    with pytest.raises(AttributeError, match="module 'keyvault' has no attribute 'Vaults'"):
        _ = keyvault.Vaults


def test_vault_is_found_from_below(vault: Lab) -> None:
    """Any folder in the vault opens it, as with git; the vault is that of the newest commit."""
    found = Vault.open(vault.folder / "keys.enc" / "id-token", environ=vault.environ)

    assert found.commit == vault.head
    assert list(found.state.sets) == ["id-token", "access-token"]


def test_path_may_be_text(vault: Lab) -> None:
    """The path may be a string, and it may name a bare clone."""
    vault.git("clone", "--quiet", "--bare", str(vault.folder), str(vault.folder.parent / "bare.git"))

    for path in (str(vault.folder), str(vault.folder.parent / "bare.git")):
        assert Vault.open(path, environ=vault.environ).commit == vault.head


def test_a_folder_without_a_vault(tmp_path: Path) -> None:
    """The error names the folder and says how to create a vault."""
    with fails("vault-missing", GitError) as caught:
        Vault.open(tmp_path, environ={})
    assert str(tmp_path) in caught.value.message
    assert "keyvault init" in str(caught.value.hint)


# --- signing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["RS256", "PS384", "ES256", "ES512", "EdDSA"])
def test_token_names_its_key_and_issuer(make_vault: MakeVault, alg: str) -> None:
    """The header has kid, alg and typ, the claims have iss, iat and exp, and the JWK Set verifies the token."""
    lab = make_vault(f"id-token:{alg}")
    found = opened(lab)
    token = found.signer("id-token").sign({"sub": "alice", "aud": "app"})
    header, claims = parts(token)

    assert header == {"alg": alg, "kid": lab.key("id-token", "active").kid, "typ": "JWT"}
    issued = int(T0.timestamp())
    assert claims == {"iss": SITE, "iat": issued, "exp": issued + 600, "sub": "alice", "aud": "app"}
    key = next(jwk for jwk in jwt.PyJWKSet.from_dict(found.jwks()).keys if jwk.key_id == header["kid"])
    accepted = jwt.decode(token, key, algorithms=[alg], audience="app", issuer=SITE, options=NO_CLOCK)
    assert accepted == claims


def test_claims_of_the_caller_win(vault: Lab) -> None:
    """A program may set iss, iat, exp and typ itself."""
    token = opened(vault).signer("id-token").sign({"iss": "https://else.example", "iat": 7, "exp": 8}, typ="at+jwt")
    header, claims = parts(token)

    assert header["typ"] == "at+jwt"
    assert claims == {"iss": "https://else.example", "iat": 7, "exp": 8}


def test_issuer_is_that_of_the_set(vault: Lab) -> None:
    """A set with its own issuer puts it into its tokens."""
    keys.add_set(vault.context(), "api", spec=key_spec("ES256"), issuer=f"{SITE}/api")

    assert parts(opened(vault).signer("api").sign({}))[1]["iss"] == f"{SITE}/api"


def test_claims_that_are_not_json_are_refused(vault: Lab) -> None:
    """Claims that JSON cannot represent are a usage error."""
    with fails("claims-not-json", UsageError):
        opened(vault).signer("id-token").sign({"sub": object()})


def test_identity_file_may_be_given(vault: Lab, tmp_path: Path) -> None:
    """A service names its identity file; without any identity, the error names the paths that were searched."""
    (identity,) = Path(vault.environ["KEYVAULT_CONFIG_DIR"], "identities").glob("*.json")
    elsewhere = {**vault.environ, "KEYVAULT_CONFIG_DIR": str(tmp_path / "none")}

    assert Vault.open(vault.folder, environ=elsewhere, identity=identity).signer("id-token").sign({})
    assert Vault.open(vault.folder, environ={**elsewhere, "KEYVAULT_IDENTITY": identity.read_text()}).signer("id-token")
    with fails("identity-missing", IdentityError) as caught:
        Vault.open(vault.folder, environ=elsewhere).signer("id-token")
    assert str(tmp_path / "none") in caught.value.message


def test_environment_of_the_process_is_the_default(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without *environ*, the variables of the process apply."""
    for name, value in vault.environ.items():
        monkeypatch.setenv(name, value)

    assert Vault.open(vault.folder).signer("id-token").sign({})


@pytest.mark.parametrize(
    ("name", "code"),
    [("id-tokn", "set-unknown"), ("mail", "use-mismatch")],
)
def test_set_that_cannot_sign(vault: Lab, name: str, code: str) -> None:
    """A misspelt set and a set for encryption are refused when the signer is created, not at the first token."""
    keys.add_set(vault.context(), "mail", spec=key_spec("ECDH-ES+A256KW"))

    with fails(code):
        opened(vault).signer(name)


def test_set_without_keys_says_what_to_run(vault: Lab) -> None:
    """A set that is new in keyvault.toml has no active key yet."""
    vault.append_policy('\n[sets.fresh]\nalg = "ES256"\n')

    with fails("active-key-missing") as caught:
        opened(vault).signer("fresh")
    assert caught.value.hint == "keyvault rotate --due"


# --- following ------------------------------------------------------------------------------------------


def test_signer_picks_up_a_rotation(vault: Lab) -> None:
    """After a new commit in the repository, the next token is signed with the new active key, without a restart."""
    signer = opened(vault).signer("id-token", refresh=NO_WAIT)
    old = vault.key("id-token", "active").kid
    assert signer.kid == old

    vault.rotate("id-token")
    new = vault.key("id-token", "active").kid
    assert parts(signer.sign({}))[0]["kid"] == signer.kid == new != old

    rotation.rollback(vault.context(), "id-token")
    assert signer.kid == old


def test_signer_picks_up_a_pulled_rotation(vault: Lab) -> None:
    """After a clone pulls a rotation, it signs with the new key."""
    clone = vault.folder.parent / "clone"
    vault.git("clone", "--quiet", str(vault.folder), str(clone))
    signer = Vault.open(clone, environ=vault.environ).signer("id-token", refresh=NO_WAIT)
    vault.rotate("id-token")
    assert signer.kid != vault.key("id-token", "active").kid

    vault.git("-C", str(clone), "pull", "--quiet", "--ff-only")
    assert signer.kid == vault.key("id-token", "active").kid


def test_commit_that_changes_nothing_keeps_the_key(vault: Lab) -> None:
    """A commit that does not change the set does not change the signer's key."""
    signer = opened(vault).signer("id-token", refresh=NO_WAIT)
    before = signer.kid
    vault.commit({"notes.txt": "hello\n"})

    assert signer.kid == before


def test_signer_refreshes_no_more_often_than_asked(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within *refresh*, the signer starts no git process; after it, the signer finds a rotation."""
    clock = {"now": 100.0}
    monkeypatch.setattr("keyvault.api.time.monotonic", lambda: clock["now"])
    signer = opened(vault).signer("id-token", refresh=timedelta(seconds=60))
    old = signer.kid
    vault.rotate("id-token")

    for clock["now"] in (100.0, 159.9):
        assert signer.kid == old
    clock["now"] = 160.0
    assert signer.kid == vault.key("id-token", "active").kid


def test_refresh_longer_than_signer_lag_is_refused(vault: Lab) -> None:
    """A signer that refreshed less often than policy assumes would use a key for too long."""
    assert isinstance(opened(vault).signer("id-token", refresh=HOUR), Signer)

    with fails("refresh-too-long", UsageError) as caught:
        opened(vault).signer("id-token", refresh=timedelta(hours=1, seconds=1))
    assert caught.value.message == "refresh of 1h1s is longer than the signer_lag 1h of id-token"


def test_signer_that_cannot_open_the_new_key_fails(vault: Lab, tmp_path: Path) -> None:
    """After a rotation to keys that it cannot open, signing fails and does not continue with the old key."""
    from keyvault.operations import recipients

    (identity,) = Path(vault.environ["KEYVAULT_CONFIG_DIR"], "identities").glob("*.json")
    kid = json.loads(identity.read_bytes())["kid"]
    signer = opened(vault).signer("id-token", refresh=NO_WAIT)
    recipient, _ = recipients.create_identity({}, kid="others", output=tmp_path / "others.json")
    recipients.replace_recipient(vault.context(), kid, recipient)
    identity.unlink()
    fresh = Vault.open(vault.folder, environ=vault.environ)

    with fails("identity-missing", IdentityError):
        fresh.signer("id-token")
    with fails("identity-missing", IdentityError):
        signer.sign({})


def test_threads_may_share_a_signer(vault: Lab) -> None:
    """Eight threads that sign during a rotation get valid tokens, each of one of the two keys."""
    signer = opened(vault).signer("id-token", refresh=NO_WAIT)
    vault.mature()
    tokens: list[str] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            tokens.extend(signer.sign({"n": number}) for number in range(10))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    rotation.rotate(vault.context(), ["id-token"])
    for thread in threads:
        thread.join()

    assert errors == []
    known = {jwk.key_id: jwk for jwk in jwt.PyJWKSet.from_dict(opened(vault).jwks()).keys}
    assert len(tokens) == 80
    for token in tokens:
        jwt.decode(token, known[str(parts(token)[0]["kid"])], algorithms=["ES256"], options=NO_CLOCK)


# --- reading --------------------------------------------------------------------------------------------


def test_jwks_equals_the_published_set(vault: Lab) -> None:
    """A program gets the same JWK Set that the site serves, for the default issuer or another one."""
    keys.add_set(vault.context(), "api", spec=key_spec("ES256"), issuer=f"{SITE}/api")
    found, site = opened(vault), vault.site()

    assert found.jwks() == json.loads(site["jwks.json"])
    for issuer in (f"{SITE}/api", f"{SITE}/api/"):
        assert found.jwks(issuer) == json.loads(site["api/jwks.json"])


def test_unknown_issuer_is_refused(vault: Lab) -> None:
    """The error lists the issuers of the vault."""
    with fails("issuer-unknown", UsageError) as caught:
        opened(vault).jwks("https://else.example")
    assert caught.value.hint == f"one of {SITE}"


def test_jwks_follows_the_repository(vault: Lab) -> None:
    """Each call reads the newest commit."""
    found = opened(vault)
    before = found.jwks()
    vault.rotate("id-token")

    assert found.jwks() != before
    assert found.commit == vault.head


def test_plan_looks_ahead(vault: Lab, at_t0: Callable[[datetime], None]) -> None:
    """The plan lists transitions, oldest first, within the given time and for the named sets only."""
    vault.mature()
    at_t0(vault.now)
    found = opened(vault)
    everything = found.plan()

    assert [transition.at for transition in everything] == sorted(transition.at for transition in everything)
    assert {transition.set for transition in everything} == {"id-token", "access-token"}
    assert {transition.set for transition in found.plan(sets=["id-token"])} == {"id-token"}
    due = T0 + 90 * DAY
    assert min(transition.at for transition in everything if transition.event == "activated") == due
    assert found.plan(until=due - vault.now - MINUTE) == []
    with fails("set-unknown", UsageError):
        found.plan(sets=["nothing"])


# --- documentation --------------------------------------------------------------------------------------


def test_example_of_the_docstring_runs(vault: Lab) -> None:
    """The lines that ``help(Vault)`` shows work unchanged in a vault."""
    examples = doctest.DocTestParser().get_examples(str(Vault.__doc__))
    program = "".join(example.source for example in examples)
    source = str(Path(keyvault.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", "from keyvault import Vault\n" + program],
        cwd=vault.folder,
        env={**vault.environ, "PYTHONPATH": source},
        capture_output=True,
    )

    assert len(examples) == 2
    assert done.returncode == 0, done.stderr.decode()


def test_every_public_method_is_documented() -> None:
    """``help(Vault)`` and ``help(Signer)`` show a sentence about each method."""
    for kind in (Vault, Signer):
        for name, member in vars(kind).items():
            if not name.startswith("_"):
                assert (getattr(member, "__doc__", None) or "").strip(), f"{kind.__name__}.{name}"
