"""Reports of commands: as text, as ids with -q, and as JSON in the shapes of `operations/reports`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest

from keyvault.core.jwk import pretty
from keyvault.core.keys import Recipient
from keyvault.operations.reports import (
    ChangeReport,
    KeyDetail,
    KeyReport,
    SetReport,
    StatusReport,
    TransitionReport,
)
from tests.cli.terminal import Terminal, named
from tests.vaults import DAY, HOUR, MINUTE, SITE, Vault


def known(vault: Vault) -> list[tuple[str, str]]:
    """Return the names that replace values that differ from run to run."""
    words = []
    for name, key_set in vault.state().sets.items():
        for key in key_set.keys:
            words += [(key.kid, f"<{name} {key.state}>"), (key.kid[:12], f"<{name} {key.state}…>")]
    words += [(kid, "<me>") for kid in vault.state().recipients]
    words += [(vault.head[:12], "<head>"), (str(vault.folder), "<vault>")]
    return words


def shown(keyvault: Terminal, *arguments: str) -> str:
    """Run a command that must succeed, and return its output with names in place of ids."""
    result = keyvault.ok(*arguments)
    assert keyvault.vault is not None
    return named(result.out + result.err, known(keyvault.vault))


# --- text -----------------------------------------------------------------------------------------------


def test_status(keyvault: Terminal, vault: Vault) -> None:
    """`status` shows the keys, since when they have their states, and the next transitions."""
    vault.wait(90 * MINUTE)

    assert shown(keyvault, "status") == (
        "https://keys.example.com  commit <head>\n"
        "\n"
        "id-token  ES256\n"
        "  active  <id-token active>  since 2026-11-23 17:00Z, 1 hour ago\n"
        "  next    <id-token next>  may sign from 2026-11-24 17:00Z, in 22 hours\n"
        "  then rotate 2027-02-21 17:00Z, in 89 days\n"
        "\n"
        "access-token  EdDSA Ed25519\n"
        "  active  <access-token active>  since 2026-11-23 17:00Z, 1 hour ago\n"
        "  next    <access-token next>  may sign from 2026-11-24 17:00Z, in 22 hours\n"
        "  then rotate 2027-02-21 17:00Z, in 89 days\n"
    )


def test_status_of_retiring_keys(keyvault: Terminal, vault: Vault) -> None:
    """A key that no longer signs is shown with the instant until which it is kept."""
    vault.wait(DAY)
    keyvault.ok("rotate", "id-token")
    vault.wait(HOUR)

    text = shown(keyvault, "status", "id-token")

    assert "  retiring  <id-token retiring>  kept until 2026-11-24 19:10Z, in 1 hour\n" in text
    assert "  then withdraw <id-token retiring…> 2026-11-24 19:10:01Z, in 1 hour\n" in text
    assert "access-token" not in text


def test_status_before_the_first_receipt(live_vault: Vault) -> None:
    """Until the next key was seen live, `status` says so instead of an instant."""
    text = shown(Terminal.of(live_vault), "status", "id-token")

    assert "  next    <id-token next>  not yet seen live\n" in text
    assert "  then record the receipt of the next key, once it is seen live\n" in text


def test_status_check(keyvault: Terminal, vault: Vault) -> None:
    """`status --check` exits with 4 if a transition is overdue by more than the grace period, and names it."""
    vault.wait(92 * DAY)
    assert keyvault("status", "--check").code == 0

    vault.wait(MINUTE)
    late = keyvault("status", "--check")
    assert late.code == 4
    assert "keyvault: overdue: id-token: rotation was due 2 days ago\n" in late.err

    assert keyvault("status", "--check", "--grace", "3d").code == 0
    assert keyvault("status", "--check", "--grace", "1d", "access-token").code == 4
    assert keyvault("status").code == 0


def test_rotate(keyvault: Terminal, vault: Vault) -> None:
    """`rotate` prints each event with the key that it belongs to, and the commit."""
    vault.wait(DAY)

    assert shown(keyvault, "rotate", "id-token") == (
        "written:\n"
        "  active    id-token  <id-token active>\n"
        "  retiring  id-token  <id-token retiring>  kept until 2026-11-24 19:10Z, in 2 hours\n"
        "  created   id-token  <id-token next>\n"
        "commit <head>\n"
    )


def test_rotate_nothing_due(keyvault: Terminal) -> None:
    """A scheduled run without work says so in three words."""
    assert shown(keyvault, "rotate", "--due") == "nothing to do\n"


def test_revoke(keyvault: Terminal, vault: Vault) -> None:
    """`revoke` names the new active key, and until when verifiers may be wrong."""
    kid = vault.active().kid
    vault.wait(HOUR)

    assert shown(keyvault, "revoke", kid, "--reason", "compromised", "--note", "in a log") == (
        "written:\n"
        "  revoked  id-token  <id-token revoked>  compromised (in a log)\n"
        "  active   id-token  <id-token active>  forced: the active key was revoked as compromised\n"
        "  created  id-token  <id-token next>\n"
        "commit <head>\n"
        "keyvault: warning: caches may accept the revoked key until 2026-11-24 18:00Z, in 1 day; "
        "restart verifiers that you own\n"
        "keyvault: warning: verifiers may not know the new active key until "
        "2026-11-24 17:00Z, in 23 hours\n"
    )


def test_rollback(keyvault: Terminal, vault: Vault) -> None:
    """`rollback` says which key signs again, and which one retires."""
    vault.wait(DAY)
    keyvault.ok("rotate", "id-token")
    vault.wait(MINUTE)

    text = shown(keyvault, "rollback", "id-token", "--note", "the edge has the old key only")

    assert "  active    id-token  <id-token active>  (the edge has the old key only)\n" in text
    assert "  retiring  id-token  <id-token retiring>" in text
    assert vault.log[0].startswith("roll id-token back to ")


def test_plan(keyvault: Terminal, vault: Vault) -> None:
    """`plan` lists the transitions of policy, oldest first, with times in UTC and their distance."""
    lines = shown(keyvault, "plan", "id-token", "--until", "91d").splitlines()

    assert lines == [
        "2027-02-21 17:00Z     in 90 days  id-token  activated    <id-token next>",
        "2027-02-21 17:00Z     in 90 days  id-token  created      (a new key)",
        "2027-02-21 17:00Z     in 90 days  id-token  deactivated  <id-token active>",
        "2027-02-21 19:10:01Z  in 90 days  id-token  withdrawn    <id-token active>",
    ]
    assert shown(keyvault, "plan", "--until", "1d") == "nothing planned\n"


def test_plan_ical(keyvault: Terminal, vault: Vault) -> None:
    """`plan --ical` writes a calendar beside the table; a rotation is one entry of it."""
    file = vault.top / "rotations.ics"

    keyvault.ok("plan", "--until", "1y", "--ical", file)

    text = file.read_bytes()
    assert text.startswith(b"BEGIN:VCALENDAR\r\n")
    lines = keyvault.ok("plan", "--until", "1y").lines
    assert text.count(b"BEGIN:VEVENT") == len([line for line in lines if "deactivated" not in line])


def test_lists(keyvault: Terminal, vault: Vault) -> None:
    """The lists of sets, keys, recipients and identities are tables with one line each."""
    assert shown(keyvault, "set", "list") == (
        "id-token      ES256          2 keys  https://keys.example.com/.well-known/jwks.json\n"
        "access-token  EdDSA Ed25519  2 keys  https://keys.example.com/.well-known/jwks.json\n"
    )
    lines = sorted(shown(keyvault, "key", "list").splitlines())
    assert lines == [
        "active  access-token  EdDSA  <access-token active>  since 2026-11-23 17:00Z",
        "active  id-token      ES256  <id-token active>  since 2026-11-23 17:00Z",
        "next    access-token  EdDSA  <access-token next>  since 2026-11-23 17:00Z",
        "next    id-token      ES256  <id-token next>  since 2026-11-23 17:00Z",
    ]
    assert shown(keyvault, "recipient", "list") == "<me>  ECDH-ES+A256KW  P-256  opens 4 keys\n"
    identity = vault.top / "config" / "identities" / f"{next(iter(vault.state().recipients))}.json"
    assert keyvault.ok("identity", "list").out == (f"{identity.stem}  opens this vault  {identity}\n")


def test_key_show(keyvault: Terminal, vault: Vault) -> None:
    """`key show` prints the life of a key and its public JWK; a kid may be shortened."""
    kid = vault.active().kid
    vault.wait(DAY)
    keyvault.ok("rotate", "id-token")

    text = shown(keyvault, "key", "show", kid[:20])

    head, _, jwk = text.partition("{")
    assert head == (
        "<id-token retiring>\n"
        "  set id-token, retiring, ES256\n"
        "  sealed to <me>\n"
        "  2026-11-23 17:00Z  created\n"
        "  2026-11-23 17:00Z  activated\n"
        "  2026-11-24 17:00Z  deactivated  kept until 2026-11-24 19:10Z\n"
    )
    assert json.loads("{" + jwk)["kid"] == "<id-token retiring>"


def test_withdrawn_keys_are_listed_on_request(keyvault: Terminal, vault: Vault) -> None:
    """`key list` shows what is published or sealed; --all adds what has left."""
    vault.wait(DAY)
    keyvault.ok("rotate", "id-token")
    vault.wait(3 * HOUR)
    keyvault.ok("rotate", "--due")

    assert "withdrawn" not in keyvault.ok("key", "list").out
    every = shown(keyvault, "key", "list", "--all", "id-token")
    assert "withdrawn  id-token  ES256  <id-token withdrawn>  since 2026-11-24 20:00Z\n" in every


def test_render(keyvault: Terminal, vault: Vault) -> None:
    """`render` writes the site to public/ and says what it rendered; any folder and commit can be named."""
    text = shown(keyvault, "render")

    files = [path for path in (vault.folder / "public").rglob("*") if path.is_file()]
    assert text == f"rendered commit <head> into <vault>/public: {len(files)} files\n"
    first = vault.head
    vault.wait(DAY)
    keyvault.ok("rotate", "--all")
    keyvault.ok("render", "-o", vault.top / "old", "--ref", first)
    for path in files:
        relative = path.relative_to(vault.folder / "public")
        assert (vault.top / "old" / relative).read_bytes() == path.read_bytes()
    assert vault.status == []


def test_recipient_check(keyvault: Terminal, vault: Vault) -> None:
    """`recipient check` says how many keys there are and how many were opened."""
    assert shown(keyvault, "recipient", "check") == "4 sealed keys, 4 opened\n"

    (vault.top / "config").rename(vault.top / "elsewhere")
    assert shown(keyvault, "recipient", "check") == "4 sealed keys, not opened, since there is no identity\n"


def test_tokens(keyvault: Terminal, vault: Vault) -> None:
    """A token can be signed, looked at and verified; a foreign one is refused with exit code 1."""
    token = keyvault.ok("token", "sign", "id-token", "--claim", "sub=alice", "--claim", "n=5").out.strip()

    text = shown(keyvault, "token", "inspect", token)
    assert "key <id-token active> of id-token, active since " in text
    assert text.endswith("a verifier accepts it\n")
    claims = keyvault.ok("token", "verify", token)
    assert (claims.json["sub"], claims.json["n"], claims.json["iss"]) == ("alice", 5, "https://keys.example.com")
    assert claims.err == "keyvault: the token verifies\n"
    assert keyvault("token", "verify", "-", stdin=token + "\n").code == 0

    vault.wait(HOUR)
    late = keyvault("token", "verify", token)
    assert (late.code, late.out) == (1, "")
    assert "a verifier rejects it: " in keyvault.ok("token", "inspect", token).out
    head, body, signature = token.split(".")
    assert keyvault("token", "verify", f"{head}.{body}.{signature[:-4]}AAAA").code == 1


def test_a_token_as_people_paste_it(keyvault: Terminal, vault: Vault) -> None:
    """The scheme of an HTTP header before the token is ignored, with a note."""
    token = keyvault.ok("token", "sign", "id-token", "--claim", "sub=alice").out.strip()
    said = "keyvault: ignored Bearer before the token\n"
    for verb in ("verify", "inspect"):
        for words, stdin in (((f"Bearer {token}",), ""), (("-",), f"Authorization: Bearer {token}\n")):
            result = keyvault("token", verb, *words, stdin=stdin)
            assert (result.code, result.err.startswith(said), '"sub": "alice"' in result.out) == (0, True, True)


def test_a_token_that_names_no_key(keyvault: Terminal, vault: Vault) -> None:
    """It verifies against a JWK Set with a single fitting key; the vault publishes two, so a verifier cannot choose."""
    token = keyvault.ok("token", "sign", "id-token").out.strip()
    jwk = keyvault.ok("key", "export", "id-token", "--active", "--private", "--format", "jwk").json
    del jwk["kid"], jwk["use"]
    bare = jwt.encode({"iss": SITE, "exp": int(vault.now.timestamp()) + 60}, jwt.PyJWK(jwk).key, algorithm="ES256")
    keys = keyvault.ok("key", "export", "id-token", "--active", "--format", "jwks").json
    for has_kid in (True, False):
        path = vault.write("keys.jwks", json.dumps(keys))
        assert keyvault("token", "verify", bare, path).code == 0
        assert keyvault("token", "verify", token, path).code == (0 if has_kid else 1)
        for key in keys["keys"]:
            key.pop("kid", None)
    result = keyvault("token", "verify", bare)
    said = "token has no kid in its header, and 2 keys are for alg 'ES256' in the JWK Set"
    assert (result.code, result.error) == (1, said)
    assert f"a verifier rejects it: {said}" in keyvault.ok("token", "inspect", bare).out


def test_a_token_of_an_issuer_with_keys_of_its_own(keyvault: Terminal, vault: Vault) -> None:
    """A verifier of that issuer has only the keys of its JWK Set, so a key of another set does not verify."""
    keyvault.ok("set", "add", "client", "--alg", "ES256", "--issuer", "client-7", "--at", "/client")
    token = keyvault.ok("token", "sign", "client").out.strip()
    assert keyvault.ok("token", "verify", token).json["iss"] == "client-7"

    forged = keyvault.ok("token", "sign", "client", "--claim", f"iss={SITE}").out.strip()

    assert keyvault("token", "verify", forged).code == 1
    assert "a verifier rejects it: " in keyvault.ok("token", "inspect", forged).out


def test_a_token_that_carries_a_private_key(keyvault: Terminal, vault: Vault) -> None:
    """The token is not shown, since output ends up in logs."""
    private = keyvault.ok("key", "export", "id-token", "--active", "--private", "--format", "jwk").json
    token = jwt.encode(
        {"iss": SITE, "exp": int(vault.now.timestamp()) + 60, "cnf": {"jwk": private}},
        jwt.PyJWK(private).key,
        algorithm="ES256",
        headers={"kid": private["kid"]},
    )
    for verb in ("inspect", "verify"):
        result = keyvault("token", verb, "-", stdin=token)
        assert (result.code, result.out) == (2, "")
        assert result.problem == "token-holds-private-key"
        assert result.error.endswith(" a private JWK, with the member 'd'")
        assert private["d"] not in result.err


def test_export(keyvault: Terminal, vault: Vault) -> None:
    """Keys can be exported in three formats, public halves unless asked otherwise; a private file is 0600."""
    kid = vault.active().kid
    assert keyvault.ok("key", "export", kid).json["kid"] == kid
    assert len(keyvault.ok("key", "export", "id-token", "--format", "jwks").json["keys"]) == 2
    assert keyvault.ok("key", "export", kid, "--format", "pem").out.startswith("-----BEGIN PUBLIC KEY-----\n")

    target = vault.top / "signer.jwk"
    result = keyvault.ok("key", "export", "id-token", "--active", "--private", "-o", target)
    assert (result.out, result.err) == ("", f"keyvault: wrote {target}, readable by you alone\n")
    assert target.stat().st_mode & 0o777 == 0o600
    assert "d" in json.loads(target.read_bytes())
    again = keyvault("key", "export", "id-token", "--active", "--private", "-o", target)
    assert (again.code, again.problem) == (2, "file-exists")


def test_generate(keyvault: Terminal, vault: Vault) -> None:
    """`key generate` generates a key outside of any vault, and stores nothing."""
    before = vault.head
    jwk = keyvault.ok("key", "generate", "--alg", "EdDSA").json
    assert (jwk["kty"], jwk["alg"], "d" in jwk) == ("OKP", "EdDSA", True)

    target = vault.top / "key.jwk"
    public = keyvault.ok("key", "generate", "--public", "-o", target, "--kid", "my-key").json
    assert (public["kid"], "d" in public) == ("my-key", False)
    assert json.loads(target.read_bytes())["x"] == public["x"]
    assert keyvault("key", "generate", "--public").code == 2
    assert (vault.head, vault.status) == (before, [])


# --- ids only -------------------------------------------------------------------------------------------


def test_quiet(keyvault: Terminal, vault: Vault) -> None:
    """-q prints ids and nothing else: kids, names of sets, commits."""
    state = vault.state()
    kids = [key.kid for key_set in state.sets.values() for key in (key_set.active, key_set.next) if key]
    assert keyvault.ok("-q", "status").lines == kids
    assert sorted(keyvault.ok("-q", "key", "list").lines) == sorted(kids)
    assert keyvault.ok("-q", "set", "list").lines == ["id-token", "access-token"]
    assert keyvault.ok("-q", "recipient", "list").lines == list(state.recipients)
    assert keyvault.ok("-q", "identity", "list").lines == list(state.recipients)
    assert keyvault.ok("-q", "render").lines == [state.commit]
    assert keyvault.ok("-q", "rotate", "--due").out == ""
    vault.wait(DAY)
    for command in (
        ("rotate", "--all"),
        ("rollback", "id-token"),
        ("revoke", kids[-1], "--reason", "superseded"),
        ("set", "add", "reports"),
        ("set", "remove", "reports"),
    ):
        result = keyvault.ok("-q", *command)
        assert result.lines == [vault.head]
        assert result.err == ""
    assert keyvault.ok("-q", "identity", "new", "--kid", "bea").lines == ["bea"]
    assert keyvault.ok("-q", "init", "../other", "--url", "https://x.example.com", "--set", "a:ES256").lines == [
        Vault(vault.top / "other", vault.environ).head
    ]


# --- JSON -----------------------------------------------------------------------------------------------


def typed(text: str, shape: Any) -> Any:
    """Return the value in *text*, which has exactly the members of *shape*."""
    value = msgspec.json.decode(text, type=shape)
    assert pretty(value).decode() == text
    return value


def change(keyvault: Terminal, *arguments: str | Path) -> ChangeReport:
    """Run a command with --json, and return its report."""
    result = keyvault.ok(*arguments, "--json")
    assert result.err == ""
    report = typed(result.out, ChangeReport)
    assert isinstance(report, ChangeReport)
    return report


def test_json_of_what_is_there(keyvault: Terminal, vault: Vault) -> None:
    """`--json` of the commands that read has exactly the documented members."""
    vault.wait(DAY)
    keyvault.ok("rotate", "id-token")
    state = vault.state()

    status = typed(keyvault.ok("status", "--json").out, StatusReport)
    assert (status.commit, status.url, status.overdue) == (vault.head, "https://keys.example.com", [])
    assert status.recipients == list(state.recipients)
    assert [one.name for one in status.sets] == ["id-token", "access-token"]
    assert [key.state for key in status.sets[0].keys] == ["active", "next", "retiring"]
    assert status.sets[0].mature_at == vault.now + DAY
    sets = typed(keyvault.ok("set", "list", "--json").out, list[SetReport])
    assert sets == status.sets
    keys = typed(keyvault.ok("key", "list", "--json").out, list[KeyReport])
    assert {key.kid for key in keys} == set(state.keys)
    detail = typed(keyvault.ok("key", "show", vault.active().kid, "--json").out, KeyDetail)
    assert (detail.public, detail.events) == (vault.active().public, vault.active().events)
    transitions = typed(keyvault.ok("plan", "--json").out, list[TransitionReport])
    assert transitions == sorted(transitions, key=lambda one: one.at)
    recipients = typed(keyvault.ok("recipient", "list", "--json").out, list[Recipient])
    assert recipients == list(state.recipients.values())


def test_json_of_what_was_done(keyvault: Terminal, vault: Vault) -> None:
    """`--json` of the commands that write has exactly the documented members, and names the commit."""
    vault.wait(DAY)
    person = vault.top / "bea.json"
    keyvault.ok("identity", "new", "--kid", "bea", "-o", person)
    first = vault.active().kid
    for arguments, events in (
        (("rotate", "--due"), []),
        (("rotate", "id-token"), ["activated", "deactivated", "created"]),
        (("rollback", "id-token"), ["reactivated", "deactivated"]),
        (("revoke", first, "--reason", "compromised", "--note", "why"), ["revoked", "activated", "created"]),
        (("set", "add", "reports", "--alg", "ES384"), ["created", "activated", "created"]),
        (("recipient", "add", person), []),
        (("recipient", "remove", "bea", "--rotate"), ["withdrawn", "created"] * 3),
        (("set", "remove", "reports"), ["deactivated", "withdrawn"]),
    ):
        report = change(keyvault, *arguments)
        assert [event.event for event in report.events][: len(events)] == events, arguments
        assert (report.dry_run, report.pushed) == (False, False)
        assert (report.changed, report.commit) == ((False, None) if arguments[1] == "--due" else (True, vault.head))
        assert all(event.kid in vault.state().keys for event in report.events)


def test_json_of_the_others(keyvault: Terminal, vault: Vault) -> None:
    """The smaller reports have the members that docs/json.md names."""
    assert set(keyvault.ok("render", "--json").json) == {"commit", "folder", "files", "changed"}
    assert keyvault.ok("recipient", "check", "--json").json == {"keys": 4, "opened": 4, "problems": []}
    (identity,) = keyvault.ok("identity", "list", "--json").json
    assert identity | {"place": ""} == {
        "kid": next(iter(vault.state().recipients)), "place": "", "encrypted": False, "recipient": True
    }  # fmt: skip
    token = keyvault.ok("token", "sign", "access-token").out.strip()
    inspected = keyvault.ok("token", "inspect", token, "--json").json
    assert set(inspected) == {"header", "claims", "key", "accepted", "problems"}
    assert inspected["accepted"] is True
    assert set(keyvault.ok("token", "verify", token, "--json").json) == {"header", "claims"}
    made = keyvault.ok("init", "../other", "--url", "https://x.example.com", "--set", "a:ES256", "--json").json
    assert set(made) == {"folder", "commit", "sets", "recipients", "identity", "ci", "ci_kept"}
    fresh = keyvault.ok("identity", "new", "--kid", "bea", "--json")
    typed(fresh.out, Recipient)


def test_json_is_one_document(keyvault: Terminal, vault: Vault) -> None:
    """With --json only the document goes to stdout, even if there are notes."""
    vault.write("keyvault.toml", (vault.folder / "keyvault.toml").read_text() + "# edited\n")

    result = keyvault.ok("status", "--json")

    json.loads(result.out)
    assert result.err == "keyvault: keyvault.toml has uncommitted changes, which do not count yet: git commit\n"


# --- dry runs -------------------------------------------------------------------------------------------


def test_dry_runs_write_nothing(keyvault: Terminal, vault: Vault) -> None:
    """`--dry-run` shows the changes and writes nothing, not even git's own files."""
    vault.wait(DAY)
    keyvault.ok("rotate", "id-token")
    person = vault.top / "bea.json"
    keyvault.ok("identity", "new", "--kid", "bea", "-o", person)
    keyvault.ok("recipient", "add", person)
    vault.wait(90 * DAY)
    (vault.git_dir / "keyvault.lock").unlink(missing_ok=True)
    before = {path: path.read_bytes() for path in vault.top.rglob("*") if path.is_file()}

    for arguments in (
        ("rotate", "--due"),
        ("rotate", "id-token", "--force", "--reason", "a drill"),
        ("rotate", "id-token", "--alg", "ES384"),
        ("revoke", vault.active().kid, "--reason", "compromised"),
        ("rollback", "id-token"),
        ("set", "add", "reports"),
        ("set", "remove", "id-token"),
        ("set", "remove", "id-token", "--force", "--reason", "a drill"),
        ("recipient", "remove", "bea", "--rotate"),
        ("recipient", "replace", "bea", str(person)),
    ):
        result = keyvault.ok(*arguments, "--dry-run")
        assert "written:" not in result.out
        assert "commit" not in result.out
        report = change(keyvault, *arguments, "--dry-run")
        assert (report.dry_run, report.commit, report.pushed) == (True, None, False)
        assert keyvault.ok("-q", *arguments, "--dry-run").out == ""

    assert {path: path.read_bytes() for path in vault.top.rglob("*") if path.is_file()} == before


def test_a_dry_run_shows_what_a_run_writes(keyvault: Terminal, vault: Vault) -> None:
    """The run makes exactly the changes that --dry-run shows, apart from the kids of new keys."""
    vault.wait(91 * DAY)

    announced = change(keyvault, "rotate", "--due", "--dry-run")
    done = change(keyvault, "rotate", "--due")

    assert announced.changed
    assert [(one.set, one.event, one.at) for one in announced.events] == [
        (one.set, one.event, one.at) for one in done.events
    ]
    for before, after in zip(announced.events, done.events, strict=True):
        assert before.kid in (after.kid, None)


@pytest.mark.parametrize("command", [("set", "remove", "nowhere"), ("rotate", "nowhere"), ("rollback", "id-token")])
def test_a_dry_run_fails_as_the_run_would(keyvault: Terminal, command: tuple[str, ...]) -> None:
    """A dry run has the same error and exit code as the run."""
    real, dry = keyvault(*command), keyvault(*command, "--dry-run")

    assert real.code != 0
    assert (dry.code, dry.err) == (real.code, real.err)
