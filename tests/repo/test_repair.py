"""A vault damaged by a merge, an edit, a clock or a dead program is readable, partly usable, and repaired."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from keyvault.core.algorithms import key_spec
from keyvault.core.events import Event
from keyvault.core.state import VaultState
from keyvault.errors import AuditError, ConfigError, GateError, GitError, RecordError, UsageError
from keyvault.operations import keys, rotation
from keyvault.operations.repair import RepairResult, repair
from keyvault.repo.records import encode_key
from keyvault.repo.vault import RECIPIENTS
from tests.errors import fails
from tests.repo.test_recovery import leftovers
from tests.revisions import audit, publish
from tests.vaults import DAY, HOUR, Vault, make_vault, run_git


def look(vault: Vault) -> VaultState:
    repository = vault.context().repository
    return repository.read_with_damage(repository.head())


def active_of(vault: Vault, name: str) -> str:
    active = look(vault).sets[name].active
    assert active is not None
    return active.kid


def spoil(vault: Vault, path: str, content: bytes | str) -> None:
    """Commit a file as a user or another tool might."""
    vault.plant(path, content)
    vault.git("reset", "--quiet", "--hard")


def later(vault: Vault, by: timedelta) -> Vault:
    """Return the same vault on a machine whose clock is ahead."""
    return replace(vault, now=vault.now + by)


def mend(vault: Vault, code: str, **options: object) -> RepairResult:
    """Repair the vault in one commit; check that the audit finds no error and the damage is gone."""
    count = len(vault.log)
    assert [(finding.code, finding.remedy) for finding in repair(vault.context(), dry_run=True).findings] != []
    assert len(vault.log) == count

    done = repair(vault.context(), **options)  # type: ignore[arg-type]  # what repair takes

    assert code in [finding.code for finding in done.findings]
    assert not done.unresolved
    assert done.outcome.commit == vault.head
    assert len(vault.log) == count + 1
    _ = vault.state().sets
    assert (vault.status, leftovers(vault)) == ([], [])
    assert repair(vault.context()).findings == ()
    assert len(vault.log) == count + 1
    found = audit(vault.context())
    assert found.errors == (), found.errors
    assert "mended" in [finding.code for finding in found.findings]
    publish(vault.context(), str(vault.top / "www"))
    return done


# --- files ----------------------------------------------------------------------------------------------

Spoil = Callable[[bytes], bytes]
SPOILED: dict[str, Spoil] = {
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "no final newline": lambda data: data.rstrip(),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "a conflict": lambda data: b"<<<<<<< HEAD\n" + data + b"=======\n" + data + b">>>>>>> other\n",
    "a pointer of LFS": lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 900\n",
    "an unknown member": lambda data: data.replace(b'"format": 1', b'"format": 1,\n  "x": 1'),
    "another key set": lambda data: data.replace(b'"set": "id-token"', b'"set": "access-token"'),
    "an event less": lambda data: data.replace(b'"event": "created"', b'"event": "born"'),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_malformed_record(vault: Vault, name: str) -> None:
    """The hint of commands is the repair, which restores the record byte for byte."""
    path = vault.next().path
    before = vault.files()[path]
    spoil(vault, path, SPOILED[name](before))
    with pytest.raises(RecordError) as caught:
        vault.state()
    assert caught.value.hint == "keyvault repair --dry-run"

    mend(vault, "record-malformed")

    assert vault.files()[path] == before


def test_events_in_another_spelling_stay(vault: Vault) -> None:
    """A record with more events than its last version, but not canonical, is written in its canonical form."""
    path = vault.next().path
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    after = vault.files()[path]
    vault.git("reset", "--quiet", "--hard", "HEAD~")
    vault.git("checkout", "--quiet", "HEAD@{1}", "--", "keys.enc")
    vault.write(path, after.replace(b"\n", b"\r\n"))
    vault.git("add", "--all")
    vault.git("-c", "core.autocrlf=false", "commit", "--quiet", "-m", "by hand")

    repair(vault.context())

    assert vault.files()[path] == after


def test_a_record_that_was_never_valid(vault: Vault) -> None:
    """A record without a readable version is removed."""
    spoil(vault, "keys.enc/id-token/new.json", "{}")
    done = mend(vault, "record-malformed")
    assert done.findings[0].remedy == "it is removed: no version of it can be read"


@pytest.mark.parametrize(
    "path", ["keys.enc/notes.txt", "keys.enc/id-token/key.json.orig", "keys.enc/recipients.json.rej"]
)
def test_files_that_do_not_belong(vault: Vault, path: str) -> None:
    """Files that a merge tool left are removed."""
    spoil(vault, path, "mine\n")
    mend(vault, "unexpected-path")
    assert path not in vault.files()


def test_a_link_in_the_place_of_a_record(vault: Vault) -> None:
    """The link is never followed, and the record is restored."""
    path = vault.next().path
    before = vault.files()[path]
    target = vault.folder / path
    target.unlink()
    target.symlink_to("/etc/hostname")
    vault.git("add", "--all")
    vault.git("commit", "--quiet", "-m", "a link")

    mend(vault, "unexpected-mode")

    assert not target.is_symlink()
    assert vault.files()[path] == before


@pytest.mark.parametrize("text", ["", "{}", "<<<<<<< HEAD\n", '{"keys": []}\n'])
def test_malformed_recipients(vault: Vault, text: str) -> None:
    """The last readable list is restored; until then, keys are sealed to it."""
    before = vault.files()[RECIPIENTS]
    spoil(vault, RECIPIENTS, text)
    rotation.revoke(vault.context(), active_of(vault, "access-token"), reason="compromised")
    mend(vault, "recipients-malformed")
    assert vault.files()[RECIPIENTS] == before


@pytest.mark.parametrize("text", ["", "<<<<<<< HEAD\nformat = 1\n", "format = 1\n[site]\nurl = 7\n"])
def test_a_malformed_policy(vault: Vault, text: str) -> None:
    """The last readable keyvault.toml is restored; until then, emergencies use it."""
    before = vault.files()["keyvault.toml"]
    spoil(vault, "keyvault.toml", text)
    with pytest.raises(ConfigError) as caught:
        vault.state()
    assert str(caught.value.hint).endswith("keyvault repair --dry-run")
    rotation.revoke(vault.context(), active_of(vault, "id-token"), reason="compromised")

    mend(vault, "policy-malformed")

    assert vault.files()["keyvault.toml"] == before


# --- a damaged vault in use -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cut off", "an unknown member"])
def test_a_vault_that_is_damaged_elsewhere(vault: Vault, name: str) -> None:
    """Undamaged sets can be read, revoked and rolled back; for the damaged one, the hint is the repair."""
    rotation.rotate(vault.context(), ["access-token"], forced="a drill")
    path = vault.next().path
    spoil(vault, path, SPOILED[name](vault.files()[path]))

    assert list(look(vault).sets) == ["access-token"]
    rotation.rollback(vault.context(), "access-token")
    rotation.revoke(vault.context(), active_of(vault, "access-token"), reason="compromised")
    with pytest.raises(RecordError) as caught:
        rotation.rollback(vault.context(), "id-token")
    assert caught.value.hint == "keyvault repair --dry-run"
    with pytest.raises(RecordError):
        rotation.rotate_due(vault.context())
    with fails("audit-failed", AuditError):
        publish(vault.context(), str(vault.top / "www"))
    mend(vault, "record-malformed")


# --- merges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["ours", "theirs"])
@pytest.mark.parametrize("apart", [False, True], ids=["in one second", "an hour apart"])
def test_two_rotations_that_met(vault: Vault, strategy: str, apart: bool) -> None:
    """Whichever side won, one next key remains, and every key is kept at least as long as each side recorded."""
    vault.publish_to()
    other = vault.clone("other", source=vault.top / "origin.git")
    rotation.rotate(other.context(), ["id-token"], forced="a drill", push=True)
    if apart:
        vault.wait(HOUR)
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    vault.git("fetch", "--quiet", "origin")
    vault.git("merge", "--quiet", "--no-edit", f"--strategy-option={strategy}", "origin/main")
    known = look(vault)
    kept = [key.life.keep_until for clone in (vault, other) for key in look(clone).keys.values()]
    with fails("two-next", RecordError):
        _ = vault.state().sets

    mend(vault, "two-next", reason="two schedules met")

    state = vault.state()
    assert {key.kid for key in state.keys.values()} == set(known.keys)
    latest = max(instant for instant in kept if instant is not None)
    assert latest <= max(key.life.keep_until for key in state.keys.values() if key.life.keep_until is not None)
    rotation.rotate_due(vault.context())


def test_a_record_that_is_restored_and_steps_back(vault: Vault) -> None:
    """If a merge of two rotations also has a malformed record, one commit repairs both."""
    vault.git("branch", "side")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    vault.git("checkout", "--quiet", "side")
    rotation.rotate(vault.wait(HOUR).context(), ["id-token"], forced="a drill")
    newer = vault.next()
    vault.git("merge", "--quiet", "--no-edit", "--strategy-option=ours", "main")
    spoil(vault, newer.path, "{}\n")

    mend(vault, "two-next")

    assert vault.state().keys[newer.kid].events[1].event == "repaired"


def test_a_revocation_that_a_merge_dropped(vault: Vault) -> None:
    """If a merge took the side without the revocation, the repair revokes the key again."""
    kid = vault.active().kid
    vault.git("branch", "side")
    rotation.revoke(vault.context(), kid, reason="compromised", note="found in a log")
    vault.git("checkout", "--quiet", "side")
    rotation.rotate(vault.wait(HOUR).context(), ["id-token"], forced="a drill")
    vault.git("merge", "--quiet", "--no-edit", "--strategy-option=ours", "main")
    vault.wait(HOUR)
    assert look(vault).keys[kid].state != "revoked"

    repair(vault.context())

    assert vault.state().keys[kid].state == "revoked"
    assert audit(vault.context()).errors == ()


def test_a_changed_event_stays_an_error(vault: Vault) -> None:
    """A merge that drops a side can be repaired; an event that somebody changed stays an error after every repair."""
    path = vault.next().path
    spoil(vault, path, vault.files()[path].replace(b"2026-11-23T17:00:00Z", b"2026-11-23T16:59:00Z"))
    rotation.rotate(later(vault, 400 * DAY).context(), ["id-token"], forced="a clock that is ahead")
    repair(vault.wait(HOUR).context(), trust_clock=True)

    assert vault.state().keys[vault.active().kid].events[-1].event == "repaired"
    assert "event-changed" in [finding.code for finding in audit(vault.context()).errors]


# --- clocks ---------------------------------------------------------------------------------------------


def test_a_run_with_a_clock_that_was_ahead(vault: Vault) -> None:
    """Only emergency commands work until the repair; afterwards all do, and the audit accepts the history."""
    rotation.rotate(later(vault, 365 * DAY).context(), ["id-token"], forced="a drill")
    now = later(vault, HOUR)
    with fails("clock-behind"):
        rotation.rotate_due(now.context())
    rotation.revoke(now.context(), now.active().kid, reason="compromised")

    with fails("clock-unconfirmed", GateError) as refused:
        repair(now.context())
    assert refused.value.hint == "if this clock is right: keyvault repair --force; else set it"
    mend(now, "instant-future", trust_clock=True)

    rotation.rotate_due(now.wait(DAY).context())
    assert audit(now.context()).errors == ()


def test_a_clock_that_is_ahead_is_noticed(vault: Vault) -> None:
    """If the host of the site has another time, only emergency commands and forced ones write anything."""
    ahead = later(vault, 365 * DAY).context()
    ahead.server_date = lambda url: vault.now
    with fails("clock-wrong", GateError) as caught:
        rotation.rotate_due(ahead)
    assert "2027-11-23 17:00Z" in caught.value.message
    assert "https://keys.example" in caught.value.message
    with fails("clock-wrong", GateError):
        keys.add_set(ahead, "more", spec=key_spec("ES256"))
    assert len(vault.log) == 1
    rotation.revoke(ahead, vault.active().kid, reason="compromised")
    rotation.rotate(ahead, ["access-token"], forced="the clock of the host is wrong")
    assert len(vault.log) == 3


def test_a_clock_that_is_behind_repairs_nothing(vault: Vault) -> None:
    """It would date back correct events."""
    then = later(vault, 90 * DAY)
    rotation.rotate(then.context(), ["id-token"], forced="a drill")
    behind = vault.context()
    behind.server_date = lambda url: then.now
    with fails("clock-wrong", GateError) as caught:
        repair(behind)
    assert "2026-11-23" in caught.value.message


def test_an_unreachable_host_stops_nothing(vault: Vault) -> None:
    """A vault is usable without a network."""
    idle = vault.wait(365 * DAY).context()
    idle.server_date = lambda url: None
    assert rotation.rotate_due(idle).commit


# --- the clone ------------------------------------------------------------------------------------------


def old(path: Path) -> Path:
    path.write_bytes(b"")
    os.utime(path, (time.time() - 100_000,) * 2)
    return path


@pytest.mark.parametrize("name", ["index.lock", "HEAD.lock", "refs/heads/main.lock", "packed-refs.lock"])
def test_locks_of_dead_programs(vault: Vault, name: str) -> None:
    """Locks that no process holds are removed."""
    lock = old(vault.git_dir / name)
    assert [finding.code for finding in repair(vault.context(), dry_run=True).findings] == ["stale-lock"]
    assert lock.exists()

    assert repair(vault.context()).removed == (lock,)

    rotation.rotate(vault.context(), ["id-token"], forced="a drill")


@pytest.mark.skipif(sys.platform != "linux", reason="running programs are looked for in /proc")
def test_locks_of_living_programs(vault: Vault) -> None:
    """While a git process runs in the clone, no lock is removed."""
    lock = old(vault.git_dir / "index.lock")
    process = subprocess.Popen(["git", "cat-file", "--batch"], cwd=vault.folder, stdin=subprocess.PIPE)
    try:
        time.sleep(0.2)
        assert [finding.remedy for finding in repair(vault.context()).unresolved] == [None]
        assert lock.exists()
    finally:
        process.communicate()


def test_an_index_that_stayed_behind(vault: Vault) -> None:
    """If the branch moved without the index, index and working tree are updated; the user's changes stay."""
    vault.git("branch", "side")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    head = vault.head
    vault.git("reset", "--quiet", "--hard", "side")
    vault.git("update-ref", "refs/heads/main", head)
    vault.write("mine.txt", "mine\n")
    assert len(vault.status) > 1

    assert [finding.code for finding in repair(vault.context()).findings] == ["stale-index"]

    assert vault.status == ["?? mine.txt"]


def test_an_index_that_stayed_behind_beside_another_vault(tmp_path: Path, environ: dict[str, str]) -> None:
    """The files of a vault in another folder of the repository, whose name is as long, are not compared."""
    (tmp_path / "mono").mkdir()
    run_git(tmp_path / "mono", environ, "init", "--quiet", "--initial-branch=main")
    make_vault(tmp_path, folder="mono/one", environ=environ)
    vault = make_vault(tmp_path, folder="mono/two", environ=environ)
    vault.git("branch", "side")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    head = vault.head
    vault.git("reset", "--quiet", "--hard", "side")
    vault.git("update-ref", "refs/heads/main", head)

    assert [finding.code for finding in repair(vault.context()).findings] == ["stale-index"]
    assert vault.status == []


def test_staged_work_of_the_user_is_no_damage(vault: Vault) -> None:
    """An index that equals no commit contains the user's changes."""
    path = vault.next().path
    vault.write(path, "mine\n")
    vault.git("add", "--all")
    assert repair(vault.context()).findings == ()
    assert vault.files()[path] == b"mine\n"


def test_work_in_the_way_stops_a_repair(vault: Vault) -> None:
    """Uncommitted changes stop a repair like every command."""
    path = vault.next().path
    spoil(vault, path, "{}")
    vault.write(path, "mine\n")
    with fails("uncommitted-changes", GitError):
        repair(vault.context())


def test_a_reason_is_a_line_of_text(vault: Vault) -> None:
    """The reason is recorded and shown on the page, so it must be one line."""
    with fails("text-invalid", UsageError):
        repair(vault.context(), reason="two\nlines")


# --- findings for the user to decide --------------------------------------------------------------------


def test_live_keys_without_a_table(vault: Vault) -> None:
    """Nothing tells whether to remove or restore the set, so the finding stays."""
    text = vault.files()["keyvault.toml"].decode()
    start = text.index("[sets.access-token]")
    spoil(vault, "keyvault.toml", text[:start])

    done = repair(vault.context())

    assert [finding.code for finding in done.unresolved] == ["set-orphaned"]
    assert done.outcome.commit is None


def test_a_lock_that_was_left_just_now(vault: Vault) -> None:
    """A process may still hold the lock: it is reported and stays."""
    lock = vault.git_dir / "index.lock"
    lock.write_bytes(b"")
    assert [finding.code for finding in repair(vault.context()).unresolved] == ["stale-lock"]
    assert lock.exists()


# --- removed and copied files ---------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["a record", "the recipients", "the keys", "the policy"])
def test_files_that_were_removed(vault: Vault, what: str) -> None:
    """They are restored; the vault is found by its folder of keys or by keyvault.toml, whichever is left."""
    before = vault.files()
    gone = {
        "a record": [vault.next().path],
        "the recipients": [RECIPIENTS],
        "the keys": [path for path in before if path.startswith("keys.enc/") and path.count("/") == 2],
        "the policy": ["keyvault.toml"],
    }[what]
    vault.git("rm", "--quiet", *gone)
    vault.git("commit", "--quiet", "-m", "by hand")

    mend(vault, {"the recipients": "recipients-missing", "the policy": "policy-missing"}.get(what, "record-removed"))

    assert vault.files() == before


def test_files_that_were_made_executable(vault: Vault) -> None:
    """The mode of records and of other files is repaired."""
    for path in (vault.next().path, "keys.enc/README.md"):
        (vault.folder / path).chmod(0o755)
    vault.git("commit", "--quiet", "--all", "-m", "by hand")

    mend(vault, "unexpected-mode")

    assert (vault.folder / vault.next().path).stat().st_mode & 0o111 == 0


def test_a_record_that_was_copied_to_another_set(vault: Vault) -> None:
    """The copy is removed, and the audit reports nothing about the key."""
    path = vault.active().path
    copy = path.replace("id-token", "access-token")
    vault.write(copy, vault.files()[path])
    vault.git("add", "--all")
    vault.git("commit", "--quiet", "-m", "by hand")

    mend(vault, "record-malformed")

    assert copy not in vault.files()


# --- merges that dropped more ---------------------------------------------------------------------------


def test_no_active_key_is_left(vault: Vault) -> None:
    """If one side revoked the next key that the other activated, the best next key becomes active, with a finding."""
    vault.git("branch", "side")
    rotation.revoke(vault.context(), vault.next().kid, reason="superseded")
    vault.git("checkout", "--quiet", "side")
    rotation.rotate(vault.wait(HOUR).context(), ["id-token"], forced="a drill")
    vault.git("merge", "--quiet", "--no-edit", "--strategy-option=theirs", "main")
    assert look(vault).all_sets["id-token"].active is None

    done = repair(vault.wait(HOUR).context())

    assert not done.unresolved
    assert vault.active().events[-1].forced == "the set had no active key"
    assert any("publish the site at once" in warning for warning in done.outcome.warnings)
    assert done.errors == ()


def test_a_withdrawal_on_the_side_that_was_dropped_ends_nothing(vault: Vault) -> None:
    """If a key signs again on this side, its withdrawal on the other side has no effect."""
    old = vault.active().kid
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    vault.git("branch", "side")
    rotation.rollback(vault.wait(HOUR).context(), "id-token")
    vault.git("checkout", "--quiet", "side")
    rotation.rotate_due(vault.wait(3 * HOUR).context())
    vault.git("checkout", "--quiet", "main")
    vault.git("merge", "--quiet", "--no-edit", "--strategy-option=ours", "side")

    repair(vault.context())

    assert vault.active().kid == old


@pytest.mark.parametrize("by_hand", [False, True], ids=["repaired", "repaired by hand"])
def test_an_event_that_a_merge_invented_stays_an_error(vault: Vault, by_hand: bool) -> None:
    """No repair can mend an event that somebody changed during a merge of two legal sides."""
    vault.git("branch", "side")
    rotation.rotate(vault.context(), ["access-token"], forced="a drill")
    vault.git("checkout", "--quiet", "side")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    vault.git("merge", "--quiet", "--no-commit", "--no-ff", "main")
    key = vault.next()
    changed = msgspec.structs.replace(key.events[0], at=key.events[0].at - 3 * DAY)
    vault.write(key.path, encode_key(msgspec.structs.replace(key, events=(changed, *key.events[1:]))))
    vault.git("add", "--all")
    vault.git("commit", "--quiet", "--no-edit")
    if by_hand:
        key = vault.next()
        event = Event(at=vault.now, event="repaired", note="two schedules met")
        vault.commit({key.path: encode_key(msgspec.structs.replace(key, events=(*key.events, event)))})

    done = repair(vault.context())

    assert "event-changed" in [finding.code for finding in done.errors]


def test_a_clock_that_is_behind_and_a_host_that_is_away_shorten_nothing(vault: Vault) -> None:
    """Nothing is dated back unless the user confirms the clock; then a key is kept as long as recorded."""
    old = vault.active().kid
    rotation.rotate(vault.wait(DAY).context(), ["id-token"], forced="a drill")
    promised = vault.state().keys[old].life.keep_until
    behind = replace(vault, now=vault.now - DAY).context()
    behind.server_date = lambda url: None

    with fails("clock-unconfirmed", GateError):
        repair(behind)
    done = repair(behind, trust_clock=True)

    assert vault.state().keys[old].life.keep_until == promised
    assert any("could not be compared" in warning for warning in done.outcome.warnings)


def test_a_merge_that_took_nothing_of_the_other_side(vault: Vault) -> None:
    """Keys that the merge strategy "ours" dropped are restored, and one of two next keys steps back."""
    vault.git("branch", "side")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    theirs = vault.next()
    vault.git("checkout", "--quiet", "side")
    rotation.rotate(vault.wait(HOUR).context(), ["id-token"], forced="a drill")
    ours = vault.next()
    vault.git("merge", "--quiet", "--no-edit", "--strategy=ours", "main")
    assert theirs.kid not in look(vault).keys

    mend(vault, "record-removed")

    assert {vault.state().keys[kid].state for kid in (theirs.kid, ours.kid)} == {"next", "withdrawn"}
