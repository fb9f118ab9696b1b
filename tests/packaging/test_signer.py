"""A signer in a service: tokens that do not outlive their key, unreadable vaults, threads, and its log."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from keyvault import GitError, KeyVaultError, Signer, UsageError, Vault, api
from keyvault.core.claims import complete_claims
from keyvault.core.events import Event
from keyvault.operations import keys, rotation
from keyvault.operations.tokens import sign
from keyvault.repo.records import encode_key
from tests.cli.canaries import JWK, search, secrets_of, watch
from tests.errors import fails
from tests.site.vaults import DAY, HOUR, MINUTE, SITE, T0, Lab
from tests.vaults import SECOND

NO_WAIT = timedelta(0)
STAMP = int(T0.timestamp())


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set the library's clock to the instant at which vaults are created, and give a function that sets it."""

    def set_clock(instant: datetime) -> None:
        monkeypatch.setattr(api, "_now", lambda: instant)

    set_clock(T0)
    return set_clock


def signer_of(lab: Lab, name: str = "id-token") -> Signer:
    return Vault.open(lab.folder, environ=lab.environ).signer(name, refresh=NO_WAIT)


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


# --- claims ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lifetime", "lives"), [("9m", 540), ("10m", 600), ("1h", 600), ("30s", 30)])
def test_a_token_without_exp_gets_one(vault: Lab, lifetime: str, lives: int) -> None:
    """exp is ten minutes ahead, or token_lifetime if that is shorter, in the library and in the command."""
    vault.edit_policy("[sets.id-token]\n", f'[sets.id-token]\ntoken_lifetime = "{lifetime}"\n')

    assert claims_of(signer_of(vault).sign({})) == {"iss": SITE, "iat": STAMP, "exp": STAMP + lives}
    token, _ = sign(vault.context(), "id-token", {"jti": "7"})
    assert claims_of(token) == {"iss": SITE, "iat": STAMP, "exp": STAMP + lives, "jti": "7"}


OUTLIVES = "token-outlives-key"


@pytest.mark.parametrize(
    ("claims", "code", "words"),
    [
        ({"exp": STAMP + 3599}, None, ""),
        ({"exp": STAMP + 3600}, None, ""),
        ({"exp": STAMP + 3600.0}, None, ""),
        ({"exp": STAMP + 3601}, OUTLIVES, "for 1h1s, token_lifetime is 1h"),
        ({"exp": STAMP + 7200}, OUTLIVES, "for 2h, token_lifetime is 1h"),
        ({"exp": STAMP + 10 * 365 * 86_400}, OUTLIVES, "for 3650d, token_lifetime is 1h"),
        ({"exp": STAMP + 2**52}, OUTLIVES, "for more than 36525d, token_lifetime is 1h"),
        ({"exp": STAMP - 1}, None, ""),
        ({"exp": 0, "iat": 0}, None, ""),
        ({"iat": STAMP - 86_400}, None, ""),
        *(({name: value}, "claim-invalid", name) for name in ("exp", "nbf", "iat") for value in ("1", None, True, [])),
        ({"exp": 2**53}, "claim-invalid", "exp"),
        ({"exp": float("inf")}, "claim-invalid", "exp"),
        ({"exp": float("nan")}, "claim-invalid", "exp"),
    ],
    ids=str,
)
def test_no_token_outlives_its_key(vault: Lab, claims: dict[str, Any], code: str | None, words: str) -> None:
    """The command and the library refuse the same claims, and both name both values."""
    makers: tuple[Callable[[], str], ...] = (
        lambda: signer_of(vault).sign(claims),
        lambda: sign(vault.context(), "id-token", claims)[0],
    )
    for make in makers:
        if code is None:
            assert claims_of(make()).items() >= claims.items()
        else:
            with fails(code, UsageError) as caught:
                make()
            assert words in caught.value.message


def test_a_ttl_has_the_same_bounds(vault: Lab) -> None:
    """The command's option has the same bounds as exp."""
    context = vault.context()
    for ttl in (HOUR - SECOND, HOUR):
        token, _ = sign(context, "id-token", {}, ttl=ttl)
        assert claims_of(token)["exp"] == STAMP + ttl.total_seconds()
    with fails("token-outlives-key", UsageError) as caught:
        sign(context, "id-token", {}, ttl=HOUR + SECOND)
    assert "1h1s" in caught.value.message


def test_completing_keeps_the_claims_of_the_caller(vault: Lab) -> None:
    """The mapping of the caller does not change, and its claims win."""
    policy, given = vault.state.sets["id-token"].policy, {"iss": "https://else.example", "iat": 7, "exp": STAMP}
    assert complete_claims(given, policy, T0) == given
    assert complete_claims({"sub": "a"}, policy, T0) == {"iss": SITE, "iat": STAMP, "exp": STAMP + 600, "sub": "a"}


# --- unreadable vaults ----------------------------------------------------------------------------------


def record_with_blanks(lab: Lab) -> None:
    """Commit a record of another set with blanks that its canonical form does not have."""
    key = lab.key("access-token", "next")
    lab.commit({key.path: encode_key(key).replace(b"\n", b"\n ")})


def two_active(lab: Lab) -> None:
    """Commit a record that makes a second key of another set active."""
    key = lab.key("access-token", "next")
    lab.commit_key(key.with_events(Event("published", T0, url=f"{SITE}/x"), Event("activated", T0)))


UNREADABLE: dict[str, tuple[Callable[[Lab], object], str]] = {
    "a typo in another set's table": (
        lambda lab: lab.edit_policy("[sets.access-token]\n", "[sets.access-token]\ntoken_liftime = '1h'\n"),
        "token_liftime",
    ),
    "an invalid value": (
        lambda lab: lab.edit_policy("[sets.access-token]\n", "[sets.access-token]\ncryptoperiod = '1m'\n"),
        "cryptoperiod",
    ),
    "not TOML": (lambda lab: lab.append_policy("\n[sets.access-token\n"), "keyvault.toml is not TOML"),
    "a record that is not canonical": (record_with_blanks, "keys.enc/access-token/"),
    "an unexpected file": (
        lambda lab: lab.commit({"keys.enc/notes.txt": "hello\n"}),
        "'keys.enc/notes.txt' does not belong in a vault",
    ),
    "an invalid list of recipients": (
        lambda lab: lab.commit({"keys.enc/recipients.json": "{}\n"}),
        "recipients.json",
    ),
    "live keys without a table": (
        lambda lab: lab.edit_policy("[sets.access-token]\n", "[sets.access-tokens]\n"),
        "set 'access-token' has live keys but no table",
    ),
    "no policy": (lambda lab: lab.commit({"keyvault.toml": None}), "has no keyvault.toml"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unreadable_vault_does_not_stop_a_signer(
    vault: Lab, clock: Callable[[datetime], None], caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """
    The last good key continues to sign until signer_lag has passed since the unreadable commit; the log says so once.
    Then an error says why. When the vault is repaired, the signer follows it again.
    """
    damage, why = UNREADABLE[case]
    signer, good = signer_of(vault), vault.head
    old = signer.kid
    vault.wait(MINUTE)
    clock(vault.now)
    assert signer.kid == old
    damage(vault)

    for late in (NO_WAIT, MINUTE, HOUR - SECOND, HOUR):
        clock(vault.now + late)
        assert signer.kid == old
        assert claims_of(signer.sign({}))["iss"] == SITE
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert (
        f"set id-token: the vault cannot be read, key {old} goes on signing until 2026-11-23 18:01Z: " in record.message
    )
    assert why in record.message

    clock(vault.now + HOUR + SECOND)
    for _ in range(2):
        with fails("vault-unreadable") as caught:
            signer.sign({})
        assert "since 2026-11-23 17:01Z" in caught.value.message
        assert "signer_lag 1h of id-token" in caught.value.message
        assert why in caught.value.message

    vault.git("revert", "--no-edit", f"{good}..HEAD")
    caplog.set_level(logging.INFO)
    assert signer.kid == old
    assert "set id-token: the vault can be read again" in caplog.messages


def test_a_rotation_behind_the_damage_is_found_after_the_repair(vault: Lab) -> None:
    """The signer misses no commit that was written meanwhile."""
    signer = signer_of(vault)
    vault.mature()
    vault.append_policy("\n[sets.access-token\n")
    old = signer.kid
    vault.git("revert", "--no-edit", "HEAD")
    rotation.rotate(vault.context(), ["id-token"])
    assert signer.kid == vault.key("id-token", "active").kid != old


def test_a_missing_repository(vault: Lab, clock: Callable[[datetime], None]) -> None:
    """Without a repository, signer_lag counts from the last successful read."""
    signer = signer_of(vault)
    old, folder = signer.kid, vault.folder / ".git"
    clock(T0 + MINUTE)
    assert signer.kid == old
    folder.rename(vault.folder / "away")

    clock(T0 + MINUTE + HOUR)
    assert signer.kid == old
    clock(T0 + MINUTE + HOUR + SECOND)
    with fails("vault-unreadable") as caught:
        signer.sign({})
    assert "since 2026-11-23 17:01Z" in caught.value.message
    assert "signer_lag 1h" in caught.value.message
    (vault.folder / "away").rename(folder)
    assert signer.kid == old


def test_the_date_of_a_commit_does_not_stretch_signer_lag(vault: Lab, clock: Callable[[datetime], None]) -> None:
    """
    A commit whose date is tomorrow counts from its first read, and one of last year from the last read without it.
    """
    for date in (T0 + DAY, T0 - 365 * DAY):
        signer, before = signer_of(vault), vault.head
        vault.now = date
        vault.append_policy("\n[sets.access-token\n")
        clock(T0)
        assert signer.kid
        clock(T0 + HOUR)
        assert signer.kid
        clock(T0 + HOUR + SECOND)
        with fails("vault-unreadable") as caught:
            signer.sign({})
        assert "since 2026-11-23 17:00Z" in caught.value.message
        vault.git("reset", "--quiet", "--hard", before)
        clock(T0)


def test_removing_the_set_takes_effect_at_once(vault: Lab) -> None:
    """A removed set signs nothing more: the vault is readable, so signer_lag does not apply."""
    signer = signer_of(vault)
    assert signer.kid
    keys.remove_set(vault.context(), "id-token", forced="leaked")
    with pytest.raises(KeyVaultError) as caught:
        signer.sign({})
    assert caught.value.code in ("set-unknown", "active-key-missing")


# --- threads --------------------------------------------------------------------------------------------


def test_key_and_issuer_change_together(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a thread opens the key of a new issuer, others sign with the old key and the old issuer."""
    signer = signer_of(vault)
    old = signer.kid
    vault.rotate("id-token")
    vault.edit_policy("[sets.id-token]\n", f'[sets.id-token]\nissuer = "{SITE}/new"\n')
    begun, go_on = threading.Event(), threading.Event()
    original = keys.open_key

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return original(*arguments)

    monkeypatch.setattr(keys, "open_key", slow)
    made: list[str] = []
    thread = threading.Thread(target=lambda: made.append(signer.sign({})))
    thread.start()
    assert begun.wait(30)
    signer._refresh = 3600.0  # the other threads do not refresh
    meanwhile = signer.sign({})
    go_on.set()
    thread.join()

    found = [(jwt.get_unverified_header(token)["kid"], claims_of(token)["iss"]) for token in (meanwhile, *made)]
    assert found == [(old, SITE), (vault.key("id-token", "active").kid, f"{SITE}/new")]


def test_threads_see_whole_commits(vault: Lab) -> None:
    """
    Eight threads sign while the issuer and then the key change; the key and issuer of each token are from one commit.
    """
    signer = signer_of(vault)
    old = signer.kid
    vault.mature()
    tokens: list[str] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            tokens.extend(signer.sign({}) for _ in range(10))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    vault.edit_policy("[sets.id-token]\n", f'[sets.id-token]\nissuer = "{SITE}/new"\n')
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(tokens) == 80
    found = {(jwt.get_unverified_header(token)["kid"], claims_of(token)["iss"]) for token in tokens}
    assert found <= {(old, SITE), (old, f"{SITE}/new"), (vault.key("id-token", "active").kid, f"{SITE}/new")}


# --- the log --------------------------------------------------------------------------------------------


def test_the_library_logs_its_work(
    vault: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log reports new signing keys, fetches, pushes, commits and failed reads, by kid, set, commit and remote."""
    made: list[JWK] = []
    watch(made.append, monkeypatch.setattr)
    caplog.set_level(logging.DEBUG)
    bare = vault.folder.parent / "origin.git"
    vault.git("init", "--quiet", "--bare", str(bare))
    vault.git("remote", "add", "origin", str(bare))
    vault.git("push", "--quiet", "--set-upstream", "origin", "HEAD")
    signer = signer_of(vault)
    first = vault.key("id-token", "active").kid
    assert f"set id-token signs with key {first}, as of commit {vault.head}" in caplog.messages
    vault.mature()
    rotation.rotate(vault.context(), ["id-token"], push=True)
    signer.sign({"sub": "alice", "secret": "a claim that is nobody's business"})
    second = vault.key("id-token", "active").kid
    branch = vault.git("symbolic-ref", "--short", "HEAD")

    assert f"set id-token signs with key {second}, as of commit {vault.head}" in caplog.messages
    assert f"pushed commit {vault.head} to origin/{branch}" in caplog.messages
    assert any(message.startswith(f"fetched origin/{branch}: commit ") for message in caplog.messages)
    vault.append_policy("\n[sets.access-token\n")
    signer.sign({})
    assert {record.name for record in caplog.records if record.name.startswith("keyvault")} == {
        "keyvault.api",
        "keyvault.repo.branch",
        "keyvault.repo.remote",
    }
    (identity,) = Path(vault.environ["KEYVAULT_CONFIG_DIR"], "identities").glob("*.json")
    secrets = secrets_of([*made, json.loads(identity.read_text())])
    assert made
    assert search(secrets, {message: message.encode() for message in caplog.messages}) == []
    assert not any("nobody's business" in message or "eyJ" in message for message in caplog.messages)


def test_the_library_is_quiet_by_default(vault: Lab) -> None:
    """A program without logging sees nothing on stderr, not even warnings."""
    program = (
        "import sys\nfrom datetime import timedelta\nfrom pathlib import Path\nfrom keyvault import Vault\n"
        "signer = Vault.open('.').signer('id-token', refresh=timedelta(0))\n"
        "signer._context.repository.head = lambda: (_ for _ in ()).throw(OSError(5, 'broken'))\n"
        "print(signer.sign({})[:3])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=vault.folder,
        env={**vault.environ, "PYTHONPATH": str(Path(api.__file__).parent.parent)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "eyJ\n", "")


def test_a_signer_without_a_policy_is_refused(vault: Lab) -> None:
    """A vault that does not open at all is refused when the signer is created."""
    vault.commit({"keyvault.toml": None})
    with fails("policy-missing", GitError):
        signer_of(vault)
