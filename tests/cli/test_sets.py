"""Commands and manual edits add and remove sets in keyvault.toml; comments of the user stay."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.vaults import DAY, HOUR, MINUTE, SECOND, Vault

COMMENTED = """\
# Who touches this file tells security@example.com
format = 1   # do not change

[site]
url = "https://keys.example.com"  # Pages
confirm = "commit"

[defaults]
cryptoperiod = "30d"

# --- tokens ---

[sets.id-token]  # for people
alg = "ES256"    # every library has it

[sets.access-token]
# machines
alg = "EdDSA"
"""


@pytest.fixture
def commented(vault: Vault) -> Vault:
    """The vault, its keyvault.toml full of comments."""
    vault.write("keyvault.toml", COMMENTED)
    vault.git("commit", "--quiet", "-am", "comments")
    return vault


def policy(vault: Vault) -> dict[str, Any]:
    return tomllib.loads((vault.folder / "keyvault.toml").read_text())


def comments(vault: Vault) -> list[str]:
    text = (vault.folder / "keyvault.toml").read_text()
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


ALL_COMMENTS = [line.partition("#")[2] for line in COMMENTED.splitlines() if "#" in line]


def states(vault: Vault, name: str) -> list[str]:
    return sorted(key.state for key in vault.set(name).keys)


# --- add ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "table"),
    [
        (("--alg", "ES384"), {"alg": "ES384"}),
        (("--alg", "RS256"), {"alg": "RS256"}),
        (("--alg", "PS256", "--bits", "3072"), {"alg": "PS256", "bits": 3072}),
        (("--alg", "EdDSA"), {"alg": "EdDSA"}),
        (("--alg", "HS256"), {"alg": "HS256"}),
        (("--alg", "ECDH-ES+A256KW", "--crv", "X25519"), {"alg": "ECDH-ES+A256KW", "crv": "X25519"}),
        (
            ("--issuer", "https://keys.example.com/reports/"),
            {"alg": "ES256", "issuer": "https://keys.example.com/reports/"},
        ),
        (
            ("--alg", "Ed25519", "--issuer", "s6BhdRkqt3", "--at", "/clients/acme"),
            {"alg": "Ed25519", "issuer": "s6BhdRkqt3", "at": "/clients/acme"},
        ),
    ],
)
def test_add(keyvault: Terminal, commented: Vault, options: tuple[str, ...], table: dict[str, Any]) -> None:
    """`set add` appends a table with the values that differ from the defaults, and generates both keys, in one commit."""
    keyvault.ok("set", "add", "reports", *options)

    assert policy(commented)["sets"]["reports"] == table
    assert comments(commented) == ALL_COMMENTS
    assert list(policy(commented)["sets"]) == ["id-token", "access-token", "reports"]
    assert states(commented, "reports") == ["active", "next"]
    assert commented.log[0].startswith("add set reports (")
    assert commented.status == []
    assert keyvault.ok("rotate", "--due").out == "nothing to do\n"
    keyvault.ok("render")


def test_add_a_dotted_name(keyvault: Terminal, vault: Vault) -> None:
    """A foreign name with dots is a single table, not three."""
    keyvault.ok("set", "add", "hydra.openid.id-token", "--alg", "ES256")

    assert "hydra.openid.id-token" in policy(vault)["sets"]
    assert states(vault, "hydra.openid.id-token") == ["active", "next"]


@pytest.mark.parametrize(
    "issuer", ["http://keys.example.com", "https://elsewhere.example.com", "https://keys.example.com/?x", "nonsense"]
)
def test_add_with_an_issuer_that_cannot_be(keyvault: Terminal, vault: Vault, issuer: str) -> None:
    """An issuer outside of the site's url, or no https one, is refused; nothing is written."""
    before = vault.files()

    result = keyvault("set", "add", "reports", "--issuer", issuer)

    assert result.code in (1, 2)
    assert issuer in result.error
    assert vault.files() == before


def test_a_set_in_the_file(keyvault: Terminal, commented: Vault) -> None:
    """A table that somebody adds and commits becomes a set with both keys at the next scheduled run."""
    commented.edit_policy("# --- tokens ---", '[sets.reports]\nalg = "ES384"\n')
    assert "no keys yet: keyvault rotate --due creates them" in keyvault.ok("status").out

    keyvault.ok("rotate", "--due")

    assert commented.log[0] == "create 2 keys of reports"
    assert states(commented, "reports") == ["active", "next"]
    assert keyvault.ok("rotate", "--due").out == "nothing to do\n"


def test_an_edit_that_is_not_committed(keyvault: Terminal, vault: Vault) -> None:
    """An edit of keyvault.toml counts once it is committed; until then commands print a note."""
    text = (vault.folder / "keyvault.toml").read_text()
    vault.write("keyvault.toml", text + '[sets.reports]\nalg = "ES384"\n')
    word = "keyvault: keyvault.toml has uncommitted changes, which do not count yet: git commit\n"

    result = keyvault.ok("rotate", "--due")

    assert (result.out, result.err) == ("nothing to do\n", word)
    assert keyvault.ok("status").err == word
    vault.git("commit", "--quiet", "-am", "reports")
    assert word not in keyvault.ok("status").err


# --- remove ---------------------------------------------------------------------------------------------


def test_remove(keyvault: Terminal, commented: Vault) -> None:
    """
    `set remove` ends signing at once and keeps old tokens verifiable: the set is closing.

    Its keys stay published up to and including keep_until; then the table can be taken out.
    """
    kid = commented.active().kid
    keyvault.ok("set", "remove", "id-token")

    assert policy(commented)["sets"]["id-token"]["closing"] is True
    assert comments(commented) == ALL_COMMENTS
    assert states(commented, "id-token") == ["retiring", "withdrawn"]
    assert "closing" in keyvault.ok("status", "id-token").out
    assert kid in keyvault.ok("key", "export", "id-token", "--format", "jwks").out
    assert keyvault("rotate", "id-token").code == 2
    keep = commented.state().keys[kid].life.keep_until
    assert keep == commented.now + 2 * HOUR + 10 * MINUTE

    commented.now = keep
    assert keyvault.ok("rotate", "--due").out == "nothing to do\n"
    assert keyvault.ok("set", "remove", "id-token").out == "nothing to do\n"
    commented.wait(SECOND)
    keyvault.ok("rotate", "--due")
    assert states(commented, "id-token") == ["withdrawn", "withdrawn"]

    keyvault.ok("set", "remove", "id-token")
    assert list(policy(commented)["sets"]) == ["access-token"]
    assert commented.log[:3] == ["remove set id-token", "withdraw 1 key of id-token", "close set id-token"]
    assert keyvault.ok("rotate", "--due").out == "nothing to do\n"
    assert "id-token" not in keyvault.ok("status").out
    assert kid in keyvault.ok("key", "list", "--all").out
    keyvault.ok("render")


def test_remove_when_the_last_key_is_due(keyvault: Terminal, vault: Vault) -> None:
    """A second `set remove` withdraws the expired keys and removes the table, in one commit."""
    keyvault.ok("set", "remove", "id-token")
    vault.wait(3 * HOUR)

    keyvault.ok("set", "remove", "id-token")

    assert list(policy(vault)["sets"]) == ["access-token"]
    assert len(vault.log) == 3


def test_remove_by_force(keyvault: Terminal, vault: Vault) -> None:
    """With --force every key is revoked and the table removed at once; the reason is recorded."""
    kids = {key.kid for key in vault.set().keys}

    keyvault.ok("set", "remove", "id-token", "--force", "--reason", "never went live")

    assert list(policy(vault)["sets"]) == ["access-token"]
    keys = vault.state().keys
    assert {keys[kid].state for kid in kids} == {"revoked"}
    assert all(keys[kid].events[-1].forced == "never went live" for kid in kids)
    assert len(vault.log) == 2


def test_remove_every_set(keyvault: Terminal, vault: Vault) -> None:
    """A vault without sets is still a vault: it says so, and a set can be added again."""
    for name in ("id-token", "access-token"):
        keyvault.ok("set", "remove", name, "--force", "--reason", "the end")

    assert "no sets yet: keyvault set add NAME --alg ES256" in keyvault.ok("status").out
    assert keyvault.ok("rotate", "--due").out == "nothing to do\n"
    assert keyvault("rotate", "--all").code == 2
    keyvault.ok("render")
    keyvault.ok("set", "add", "id-token")
    assert states(vault, "id-token") == ["active", "next", "revoked", "revoked"]


def test_add_what_is_closing(keyvault: Terminal, vault: Vault) -> None:
    """A closing set can be reopened: it keeps its keys, and gets those that are missing."""
    kid = vault.active().kid
    keyvault.ok("set", "remove", "id-token")
    vault.wait(MINUTE)

    keyvault.ok("set", "add", "id-token", "--alg", "ES256")

    assert "closing" not in policy(vault)["sets"]["id-token"]
    assert states(vault, "id-token") == ["active", "next", "retiring", "withdrawn"]
    assert vault.state().keys[kid].state == "retiring"


def test_a_table_that_was_deleted_by_hand(keyvault: Terminal, commented: Vault) -> None:
    """If the table of a set with live keys is deleted, the error says how to remove the set: no key is dropped silently."""
    commented.edit_policy('[sets.access-token]\n# machines\nalg = "EdDSA"\n', "")

    result = keyvault("rotate", "--due")

    assert (result.code, result.problem) == (1, "set-orphaned")
    assert "'access-token'" in result.error
    assert (
        result.hint
        == "restore [sets.access-token] in keyvault.toml; then, to remove the set: keyvault set remove access-token"
    )
    shown = keyvault("status", "--check")
    assert shown.code == 4
    assert "damaged: set access-token has live keys but no table in keyvault.toml" in shown.err
    assert "id-token" in shown.out


# --- another algorithm ----------------------------------------------------------------------------------


def test_rotate_to_another_algorithm(keyvault: Terminal, commented: Vault) -> None:
    """`rotate --alg` edits keyvault.toml and replaces the next key, which signs after algorithm_lead."""
    first, replaced = commented.active().kid, commented.next().kid
    commented.wait(DAY)

    result = keyvault.ok("rotate", "id-token", "--alg", "ES384")

    assert policy(commented)["sets"]["id-token"] == {"alg": "ES384", "algorithm_lead": "7d"}
    assert comments(commented) == ALL_COMMENTS
    assert commented.log[0] == "change id-token to ES384"
    assert commented.active().kid == first
    assert commented.next().public.alg == "ES384"
    assert commented.state().keys[replaced].state == "withdrawn"
    assert "waiting: id-token: the new ES384 key waits for its own receipt and algorithm_lead, 7d" in result.err
    assert "id-token changes to ES384: restart Spring Security by issuer" in result.err
    commented.wait(7 * DAY - MINUTE)
    refused = keyvault("rotate", "id-token")
    assert (refused.code, "the first for ES384, was created 6 days ago; algorithm_lead is 7d" in refused.err) == (
        3,
        True,
    )
    commented.wait(MINUTE)
    result = keyvault.ok("rotate", "id-token")
    assert commented.active().public.alg == "ES384"
    assert "id-token signs with ES384 from now on" in result.err
    assert "keyvault rollback id-token goes back" in result.err
    keyvault.ok("audit")
    commented.wait(DAY)
    assert "restarted" not in keyvault.ok("rotate", "id-token").err


def test_lead_of_another_algorithm_is_chosen_once(keyvault: Terminal, commented: Vault) -> None:
    """`rotate --alg` keeps an existing algorithm_lead, in the set or inherited."""
    commented.edit_policy('cryptoperiod = "30d"', 'cryptoperiod = "30d"\nalgorithm_lead = "2d"')

    result = keyvault.ok("rotate", "id-token", "--alg", "ES384")

    assert policy(commented)["sets"]["id-token"] == {"alg": "ES384"}
    assert "algorithm_lead is 2d" in result.err


def test_another_algorithm_in_the_file(keyvault: Terminal, commented: Vault) -> None:
    """So does another `alg` in keyvault.toml, at the next scheduled run."""
    commented.edit_policy('alg = "ES256"    # every', 'alg = "ES512"    # every')

    keyvault.ok("rotate", "--due")

    assert (commented.active().public.alg, commented.next().public.alg) == ("ES256", "ES512")
    assert keyvault.ok("rotate", "--due").out == "nothing to do\n"


def test_the_same_algorithm_again(keyvault: Terminal, commented: Vault) -> None:
    """`rotate --alg` with the algorithm that the set has is an ordinary rotation."""
    commented.wait(DAY)

    keyvault.ok("rotate", "id-token", "--alg", "ES256")

    assert commented.log[0] == "rotate id-token"
    assert (commented.folder / "keyvault.toml").read_text() == COMMENTED


@pytest.mark.parametrize(
    ("alg", "use"),
    [("ECDH-ES+A256KW", "encryption"), ("HS256", "secrets, which are not published")],
)
def test_rotate_to_an_algorithm_of_another_use(keyvault: Terminal, commented: Vault, alg: str, use: str) -> None:
    """A set cannot change its use: another use needs another set."""
    before = commented.files()

    result = keyvault("rotate", "id-token", "--alg", alg)

    assert (result.code, result.problem) == (2, "use-mismatch")
    assert f"{alg} is for {use}" in result.error
    assert f"keyvault set add NAME --alg {alg}" in str(result.hint)
    assert commented.files() == before


def test_rotate_to_another_algorithm_by_force(keyvault: Terminal, commented: Vault) -> None:
    """A change of algorithm only generates a next key, so --force is refused with it."""
    result = keyvault("rotate", "id-token", "--alg", "ES384", "--force", "--reason", "incident 7")

    assert (result.code, "keyvault rotate id-token --alg ES384; then rotate with --force" in result.err) == (2, True)
    keyvault.ok("rotate", "id-token", "--alg", "ES384")
    forced = keyvault.ok("rotate", "id-token", "--force", "--reason", "incident 7")
    assert commented.active().public.alg == "ES384"
    assert "id-token signs with ES384 from now on" in forced.err


def test_revoke_and_rollback_say_who_refuses(keyvault: Terminal, commented: Vault) -> None:
    """Rollback and revoke can activate a key of another algorithm, and warn as rotate does."""
    keyvault.ok("rotate", "id-token", "--alg", "ES384")
    said = "id-token signs with ES384 from now on: "
    old = commented.active().kid
    revoked = keyvault.ok("revoke", old, "--reason", "compromised")
    assert said in revoked.err
    assert commented.active().public.alg == "ES384"


# --- schedules ------------------------------------------------------------------------------------------


def test_due_twice_is_once(keyvault: Terminal, commented: Vault) -> None:
    """A second run at the same instant has nothing to do, over a year of monthly rotations."""
    commits = len(commented.log)
    for _ in range(12):
        commented.wait(30 * DAY)
        keyvault.ok("rotate", "--due")
        assert len(commented.log) == commits + 1
        commits += 1
        assert keyvault.ok("rotate", "--due").out == "nothing to do\n"
        assert len(commented.log) == commits
    counts = {"active": 2, "next": 2, "retiring": 2, "withdrawn": 22}
    found = [str(key.state) for key in commented.state().keys.values()]
    assert {state: found.count(state) for state in counts} == counts


def test_policy_changes_reach_what_is_there(keyvault: Terminal, commented: Vault) -> None:
    """A longer token_lifetime is recorded for published keys; a shorter token_lifetime does not shorten it."""
    commented.edit_policy('cryptoperiod = "30d"', 'cryptoperiod = "30d"\ntoken_lifetime = "12h"')
    keyvault.ok("rotate", "--due")
    assert commented.log[0] == "record token_lifetime of id-token, access-token"
    commented.edit_policy('token_lifetime = "12h"', 'token_lifetime = "5m"')
    assert keyvault.ok("rotate", "--due").out == "nothing to do\n"
    old = commented.active().kid
    commented.wait(DAY)

    keyvault.ok("rotate", "id-token")

    assert commented.state().keys[old].life.keep_until == commented.now + 13 * HOUR + 10 * MINUTE
