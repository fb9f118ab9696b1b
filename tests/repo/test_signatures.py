"""Signatures of commits: the parent commit names the allowed signers, and no user's settings matter."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyvault.core.history.findings import Finding
from keyvault.operations import rotation
from keyvault.operations.audit import read_signers
from keyvault.repo.signatures import Signers
from tests.repo.histories import Content, audit
from tests.vaults import DAY, HOUR, MINUTE, T0, Vault, copy_vault, make_vault, run_git

#: The codes that these tests cover; test_audit asserts that every code is covered.
CODES = {
    "signers-missing",
    "unsigned",
    "signature-bad",
    "signature-expired",
    "signature-unchecked",
    "signer-unknown",
}

LIST, KEYRING, POLICY = "keys.enc/allowed_signers", "keys.enc/allowed_signers.asc", "keyvault.toml"
PEOPLE = ("ada", "bob", "eve")

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed (openssh-client)")
needs_gpg = pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not installed (gnupg)")


@dataclass(frozen=True)
class Lab:
    """
    A vault whose commits are signed.

    Attributes:
        vault: The vault.
        ssh: The private SSH key of each signer.
    """

    vault: Vault
    ssh: Mapping[str, Path]

    def allowed(self, *names: str, **options: str) -> str:
        """Return a list of signers; *options* are put before the key of the signer they name."""
        lines = []
        for name in names:
            key = self.ssh[name].with_suffix(".pub").read_text().split()[:2]
            lines.append(" ".join([f"{name}@example.com", *([options[name]] if name in options else []), *key]))
        return "\n".join([*lines, ""])

    def commit(
        self,
        who: str | None,
        changes: Mapping[str, Content] | None = None,
        *,
        parents: tuple[str, ...] = ("HEAD",),
        settings: Mapping[str, str] | None = None,
    ) -> str:
        """Commit *changes*, by default a change of the vault, signed by *who*, and check it out."""
        if changes is None:
            changes = {"keys.enc/README.md": f"{self.vault.now}\n"}
        if who is not None:
            settings = {"gpg.format": "ssh", "user.signingkey": str(self.ssh[who]), **(settings or {})}
        environ = self.vault.environ | {"GIT_INDEX_FILE": str(self.vault.top / "signing.index")}
        run_git(self.vault.folder, environ, "read-tree", parents[0])
        for path, content in changes.items():
            if content is None:
                run_git(self.vault.folder, environ, "update-index", "--force-remove", path)
            else:
                data = content.encode() if isinstance(content, str) else content
                oid = self.vault.git("hash-object", "-w", "--stdin", stdin=data)
                run_git(self.vault.folder, environ, "update-index", "--add", "--cacheinfo", f"100644,{oid},{path}")
        written = run_git(self.vault.folder, environ, "write-tree")
        date = f"@{int(self.vault.now.timestamp())} +0000"
        dated = self.vault.environ | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        words = [word for name, value in (settings or {}).items() for word in ("-c", f"{name}={value}")]
        words += ["commit-tree", written, "-m", "by hand", *(["-S"] if settings else [])]
        words += [word for parent in parents for word in ("-p", parent)]
        commit = run_git(self.vault.folder, dated, *words)
        self.vault.git("reset", "--quiet", "--hard", commit)
        self.vault.wait(MINUTE)
        return commit

    def policy(self, *, required: bool) -> str:
        """Return keyvault.toml with or without require_signatures."""
        text = (self.vault.folder / POLICY).read_text().replace("[audit]\nrequire_signatures = true\n\n", "")
        return text.replace("[defaults]", "[audit]\nrequire_signatures = true\n\n[defaults]") if required else text

    def found(self, **options: object) -> list[tuple[str, str]]:
        """Return (code, commit) of each finding."""
        return [(finding.code, finding.commit) for finding in self.findings(**options)]

    def findings(self, **options: object) -> tuple[Finding, ...]:
        return audit(self.vault, **options).findings


@pytest.fixture(scope="module")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    vault = make_vault(tmp_path_factory.mktemp("signed"))
    ssh = {}
    for name in PEOPLE:
        ssh[name] = vault.top / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(ssh[name])]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
    lab = Lab(vault.wait(HOUR), ssh)
    lab.commit("ada", {LIST: lab.allowed("ada", "bob"), POLICY: lab.policy(required=True)})
    lab.commit("bob")
    return lab


@pytest.fixture
def lab(_lab: Lab, tmp_path: Path) -> Lab:
    """A vault of the test's own that requires signatures: ada and bob are allowed signers, eve is not."""
    vault = copy_vault(_lab.vault, tmp_path)
    return Lab(vault, {name: tmp_path / name for name in PEOPLE})


# --- linear histories -----------------------------------------------------------------------------------


def test_everything_is_signed(lab: Lab) -> None:
    """Commands sign as the user's git does; commits that do not change the vault need no signature."""
    settings = {"commit.gpgsign": "true", "gpg.format": "ssh", "user.signingkey": str(lab.ssh["ada"])}
    for name, value in settings.items():
        lab.vault.git("config", name, value)
    rotation.rotate_due(lab.vault.context())
    lab.vault.git("config", "commit.gpgsign", "false")
    lab.commit(None, {"README.md": "hello"})
    assert lab.findings() == ()


def altered(lab: Lab) -> str:
    """Create a commit with other content but a signature of ada's."""
    lab.commit("ada")
    raw = lab.vault.git("cat-file", "commit", "HEAD").replace("by hand", "by foot") + "\n"
    oid = lab.vault.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=raw.encode())
    lab.vault.git("reset", "--quiet", "--hard", oid)
    return oid


WRONG: dict[str, tuple[str, Callable[[Lab], str]]] = {
    "nobody": ("unsigned", lambda lab: lab.commit(None)),
    "somebody unknown": ("signer-unknown", lambda lab: lab.commit("eve")),
    "somebody who adds herself": ("signer-unknown", lambda lab: lab.commit("eve", {LIST: lab.allowed("ada", "eve")})),
    "somebody who adds herself to the other list": ("signer-unknown", lambda lab: lab.commit("eve", {KEYRING: "x"})),
    "somebody who lets go of signatures": (
        "signer-unknown", lambda lab: lab.commit("eve", {POLICY: lab.policy(required=False)})
    ),
    "nobody, ending the requirement": ("unsigned", lambda lab: lab.commit(None, {POLICY: lab.policy(required=False)})),
    "nobody, without any policy": ("unsigned", lambda lab: lab.commit(None, {POLICY: None})),
    "nobody, with a policy that is none": ("unsigned", lambda lab: lab.commit(None, {POLICY: "[["})),
    "nobody, without a list": ("unsigned", lambda lab: lab.commit(None, {LIST: None})),
    "somebody, and it was altered": ("signature-bad", altered),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_commit_that_nobody_vouches_for(name: str, lab: Lab) -> None:
    """It is an error, and does not change the allowed signers."""
    code, make = WRONG[name]
    bad = make(lab)
    extra = {"policy-missing", "policy-malformed", "policy-loosened"}
    found = [finding for finding in lab.found() if finding[0] not in extra]
    assert found == [(code, bad)]

    again, good, last = lab.commit("eve"), lab.commit("bob"), lab.commit(None)
    found = [finding for finding in lab.found() if finding[0] not in extra]
    assert found == [(code, bad), ("signer-unknown", again), ("unsigned", last)]
    assert good not in dict(found).values()


def test_the_list_changes(lab: Lab) -> None:
    """A new signer may sign from the next commit on, a removed one may not."""
    lab.commit("ada", {LIST: lab.allowed("ada", "eve")})
    lab.commit("eve")
    bad = lab.commit("bob")
    assert lab.found() == [("signer-unknown", bad)]


def test_a_key_that_leaves_by_its_own_hand(lab: Lab) -> None:
    """Bob may sign his own removal, because the parent commit counts; later commits he may not."""
    lab.commit("bob", {LIST: lab.allowed("ada")})
    assert lab.findings() == ()
    assert lab.found()[:1] == []
    bad = lab.commit("bob", {LIST: lab.allowed("ada", "bob")})
    assert lab.found() == [("signer-unknown", bad)]


def test_signatures_are_no_longer_required(lab: Lab) -> None:
    """An allowed signer may end the requirement, which is a note; from then on no signature is needed."""
    loose = lab.commit("ada", {POLICY: lab.policy(required=False)})
    lab.commit(None)
    assert lab.found() == [("policy-loosened", loose)]
    bad = lab.commit(None, {POLICY: lab.policy(required=True)})
    assert lab.found() == [("policy-loosened", loose), ("unsigned", bad)]


def test_nobody_may_sign(lab: Lab) -> None:
    """Without a list nobody may sign, and the finding says so."""
    lab.commit("ada", {LIST: None})
    assert lab.findings() == ()
    last = lab.commit("ada")
    assert set(lab.found()) == {("signer-unknown", last), ("signers-missing", last)}


@pytest.mark.parametrize("content", ["", "\n", "hello\n", "\0\0\0", "ada@example.com ssh-ed25519 AAAA\n"])
def test_a_list_that_is_none(content: str, lab: Lab) -> None:
    """An empty list allows nobody."""
    lab.commit("ada", {LIST: content})
    last = lab.commit("ada")
    assert ("signer-unknown", last) in lab.found()


def test_signers_and_the_demand_come_one_after_the_other(lab: Lab) -> None:
    """An unsigned vault first lists its signers, then requires signatures; the other order is an error."""
    lab.vault.git("reset", "--quiet", "--hard", "HEAD~2")
    lab.commit(None, {LIST: lab.allowed("ada")})
    lab.commit(None)
    lab.commit("ada", {POLICY: lab.policy(required=True)})
    lab.commit("ada")
    assert lab.findings() == ()

    lab.vault.git("reset", "--quiet", "--hard", "HEAD~4")
    lonely = lab.commit("ada", {POLICY: lab.policy(required=True)})
    assert set(lab.found()) == {("signer-unknown", lonely), ("signers-missing", lonely)}


def test_the_first_commit_names_its_signers(lab: Lab) -> None:
    """If a history begins with a list, an allowed signer must sign the first commit."""
    text = {LIST: lab.allowed("ada"), POLICY: lab.policy(required=True)}
    for who, found in (("ada", []), ("eve", ["signer-unknown"]), (None, ["unsigned"])):
        root = _root(lab, who, text)
        assert lab.found() == [(code, root) for code in found]
        lab.commit("ada")
        assert lab.found() == [(code, root) for code in found]


def _root(lab: Lab, who: str | None, changes: Mapping[str, Content]) -> str:
    """Commit the files of HEAD with *changes* as a root commit, with the date of the keys."""
    lab.vault.now = T0
    lab.commit(None, changes)
    settings = {"gpg.format": "ssh", "user.signingkey": str(lab.ssh[who])} if who else {}
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    date = f"@{int(T0.timestamp())} +0000"
    environ = lab.vault.environ | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    signing = ["-S"] if who else []
    root = run_git(lab.vault.folder, environ, *words, "commit-tree", "HEAD^{tree}", "-m", "root", *signing)
    lab.vault.git("reset", "--quiet", "--hard", root)
    return root


def test_a_trusted_commit_says_who_may_sign(lab: Lab) -> None:
    """The list of the --since commit counts, whoever signed that commit."""
    taken = lab.commit("eve", {LIST: lab.allowed("eve")})
    bad = lab.commit("ada")
    lab.commit("eve")
    assert lab.found(since=taken) == [("signer-unknown", bad)]


def test_expired(lab: Lab) -> None:
    """An entry may expire: then only commits with an earlier date have a good signature."""
    until = f'valid-before="{lab.vault.now + DAY:%Y%m%d%H%M%S}Z"'
    lab.commit("ada", {LIST: lab.allowed("ada", "bob", bob=until)})
    lab.commit("bob")
    assert lab.findings() == ()
    lab.vault.wait(2 * DAY)
    bad = lab.commit("bob")
    lab.commit("ada")
    assert lab.found() == [("signer-unknown", bad)]


# --- signers from outside the vault ---------------------------------------------------------------------


def test_signers_from_outside(lab: Lab) -> None:
    """They replace the vault's own list, and must sign every commit that changes the vault."""
    outside = Signers(ssh=lab.allowed("ada", "eve").encode())
    one, two, three = reversed(lab.vault.git("rev-list", "HEAD").splitlines())
    assert lab.found(signers=[_file(lab, outside)]) == [("unsigned", one), ("signer-unknown", three)]
    lab.commit("ada", {LIST: lab.allowed("bob")})
    lab.commit("eve")
    assert lab.found(signers=[_file(lab, outside)], since=three) == []
    assert two not in dict(lab.found(signers=[_file(lab, outside)])).values()


def _file(lab: Lab, signers: Signers) -> Path:
    path = lab.vault.top / "signers"
    path.write_bytes(signers.ssh or signers.openpgp)
    return path


def test_signers_from_outside_where_nobody_must(lab: Lab) -> None:
    """Then the vault's own requirement does not matter."""
    lab.vault.git("reset", "--quiet", "--hard", "HEAD~2")
    trusted = lab.vault.head
    bad = lab.commit(None)
    lab.commit("eve")
    assert lab.found() == []
    assert lab.found(signers=[_file(lab, Signers(lab.allowed("eve").encode()))], since=trusted) == [("unsigned", bad)]


def test_which_list_a_file_is(tmp_path: Path) -> None:
    """The beginning of a file tells its kind; each file is a list of its own."""
    (tmp_path / "ssh").write_text("a@example.com ssh-ed25519 AAAA\n")
    (tmp_path / "armoured").write_text("\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    (tmp_path / "binary").write_bytes(b"\x99\x01")
    read = read_signers([tmp_path / name for name in ("ssh", "armoured", "binary", "ssh")])
    assert read.ssh.count(b"ssh-ed25519") == 2
    assert b"BEGIN PGP" in read.openpgp
    assert b"\x99\x01" in read.openpgp
    assert (bool(read), bool(Signers()), bool(Signers(b" \n"))) == (True, False, False)


# --- merges ---------------------------------------------------------------------------------------------


def test_a_clean_merge_needs_no_signature(lab: Lab) -> None:
    """A merge without own changes needs no signature: both sides are signed."""
    base = lab.vault.head
    ours = lab.commit("ada")
    theirs = lab.commit("bob", {"keys.enc/identities/bob.json": JWE}, parents=(base,))
    lab.commit(None, {"keys.enc/identities/bob.json": JWE}, parents=(ours, theirs))
    assert lab.findings() == ()


JWE = '{"protected":"","ciphertext":"","iv":"","tag":"","recipients":[]}'


def test_a_merge_with_a_change_of_its_own(lab: Lab) -> None:
    """A merge with own changes must be signed like any commit."""
    base = lab.vault.head
    ours = lab.commit("ada")
    theirs = lab.commit("bob", {"keys.enc/identities/bob.json": JWE}, parents=(base,))
    for who, found in ((None, ["unsigned"]), ("eve", ["signer-unknown"]), ("bob", [])):
        commit = lab.commit(who, {"keys.enc/README.md": "evil"}, parents=(ours, theirs))
        assert lab.found() == [(code, commit) for code in found if code]


def test_a_merge_of_a_side_that_nobody_vouches_for(lab: Lab) -> None:
    """The unsigned side is an error, and merging its list allows no new signer."""
    base = lab.vault.head
    ours = lab.commit("ada")
    evil = lab.commit("eve", {LIST: lab.allowed("eve")}, parents=(base,))
    for parents in ((ours, evil), (evil, ours)):
        lab.commit(None, {LIST: lab.allowed("eve")}, parents=parents)
        later = lab.commit("eve")
        lab.commit("bob")
        found = lab.found()
        assert (found[0], found[-1]) == (("signer-unknown", evil), ("signer-unknown", later))


def test_an_old_list_is_not_brought_back(lab: Lab) -> None:
    """If a removed signer still signs on an older branch, an allowed signer must sign its merge."""
    base = lab.vault.head
    ours = lab.commit("ada", {LIST: lab.allowed("ada")})
    theirs = lab.commit("bob", {LIST: lab.allowed("ada", "bob", "eve")}, parents=(base,))
    other = lab.commit("bob", {"keys.enc/identities/bob.json": JWE}, parents=(base,))
    for side, change in (
        (theirs, {LIST: lab.allowed("ada", "bob", "eve")}),
        (other, {"keys.enc/identities/bob.json": JWE}),
        (other, {LIST: lab.allowed("ada", "bob")}),
    ):
        for parents in ((ours, side), (side, ours)):
            changes = {LIST: lab.allowed("ada"), **change}
            for who, code in ((None, "unsigned"), ("bob", "signer-unknown")):
                merged = lab.commit(who, changes, parents=parents)
                assert lab.found() == [(code, merged)]
            lab.commit("ada", changes, parents=parents)
            assert lab.findings() == ()


def test_an_old_branch_that_has_nothing_to_do_with_the_vault(lab: Lab) -> None:
    """Anybody may merge it, even after the list has changed."""
    base = lab.vault.head
    ours = lab.commit("ada", {LIST: lab.allowed("ada")})
    theirs = lab.commit(None, {"README.md": "hello"}, parents=(base,))
    for parents in ((ours, theirs), (theirs, ours)):
        lab.commit(None, {"README.md": "hello", LIST: lab.allowed("ada")}, parents=parents)
        bad = lab.commit("bob")
        assert lab.found() == [("signer-unknown", bad)]
        assert lab.found(since=ours) == [("signer-unknown", bad)]


def test_a_branch_from_before_signatures_were_required(lab: Lab) -> None:
    """No signature was required on that branch, so its merge must be signed."""
    base = "HEAD~2"
    ours = lab.vault.head
    theirs = lab.commit(None, {"keys.enc/identities/eve.json": JWE}, parents=(base,))
    assert lab.findings() == ()
    changes = {
        "keys.enc/identities/eve.json": JWE,
        **{
            path: lab.vault.git("cat-file", "blob", f"{ours}:{path}") + "\n"
            for path in (LIST, POLICY, "keys.enc/README.md")
        },
    }
    for parents in ((ours, theirs), (theirs, ours)):
        merged = lab.commit(None, changes, parents=parents)
        later = lab.commit("eve")
        assert lab.found() == [("unsigned", merged), ("signer-unknown", later)]
        lab.commit("ada", changes, parents=parents)
        lab.commit("bob")
        assert lab.findings() == ()


def test_another_root_names_nobody(lab: Lab) -> None:
    """A root commit with only a list of signers cannot take over the vault."""
    ours = lab.vault.head
    blob = lab.vault.git("hash-object", "-w", "--stdin", stdin=lab.allowed("eve").encode())
    inner = lab.vault.git("mktree", stdin=f"100644 blob {blob}\tallowed_signers\n".encode())
    outer = lab.vault.git("mktree", stdin=f"040000 tree {inner}\tkeys.enc\n".encode())
    root = lab.vault.git("commit-tree", outer, "-m", "root")
    files = {path: data for path, data in lab.vault.files().items() if path != LIST}
    for parents in ((ours, root), (root, ours)):
        merged = lab.commit("eve", {**files, LIST: lab.allowed("eve")}, parents=parents)
        later = lab.commit("eve")
        found = lab.found()
        assert ("signer-unknown", merged) in found
        assert ("signer-unknown", later) in found


# --- programs that the repository names -----------------------------------------------------------------


def canary(lab: Lab, name: str = "canary") -> tuple[Path, Path]:
    """Return a program that creates a file when it runs and reports a good signature, and that file."""
    mark = lab.vault.top / f"{name}.mark"
    program = lab.vault.top / name
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\necho 'Good \"git\" signature for ada@example.com'\nexit 0\n")
    program.chmod(0o755)
    return program, mark


def test_programs_of_the_repository(lab: Lab) -> None:
    """Its own settings neither name the program that checks a signature nor the allowed signers."""
    program, mark = canary(lab)
    bad = lab.commit("eve")
    everybody = lab.vault.top / "everybody"
    everybody.write_text(lab.allowed("ada", "bob", "eve"))
    for name, value in {
        "gpg.program": program,
        "gpg.openpgp.program": program,
        "gpg.x509.program": program,
        "gpg.ssh.program": program,
        "gpg.ssh.defaultKeyCommand": program,
        "gpg.ssh.allowedSignersFile": everybody,
        "gpg.ssh.revocationFile": lab.ssh["ada"].with_suffix(".pub"),
        "gpg.minTrustLevel": "ultimate",
        "gpg.format": "openpgp",
        "log.showSignature": "true",
        "format.pretty": "full",
    }.items():
        lab.vault.git("config", name, value)
    assert lab.found() == [("signer-unknown", bad)]
    assert not mark.exists()


def test_the_users_own_settings_may_name_a_program(lab: Lab) -> None:
    """The user's settings name the program, but not the allowed signers."""
    program, mark = canary(lab)
    bad = lab.commit("eve")
    everybody = lab.vault.top / "everybody"
    everybody.write_text(lab.allowed("ada", "bob", "eve"))
    settings = lab.vault.top / "gitconfig"
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\nexec ssh-keygen \"$@\"\n")
    settings.write_text(f'[gpg "ssh"]\nprogram = {program}\nallowedSignersFile = {everybody}\n')
    lab.vault.environ["GIT_CONFIG_GLOBAL"] = str(settings)
    assert lab.found() == [("signer-unknown", bad)]
    assert mark.exists()


# --- OpenPGP --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ring:
    """A keyring of the test's own with the keys of ada and eve, and an expired one."""

    home: Path

    def gpg(self, *arguments: str) -> bytes:
        environ = {**os.environ, "GNUPGHOME": str(self.home)}
        command = [
            "gpg",
            "--batch",
            "--quiet",
            "--no-tty",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
            *arguments,
        ]
        return subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60).stdout

    def public(self, *names: str) -> bytes:
        return self.gpg("--armor", "--export", *(f"{name}@example.com" for name in names))

    def settings(self, name: str, *, faked: str | None = None) -> dict[str, str]:
        """Return the settings with which git signs as *name*."""
        program = self.home / f"as-{name}"
        option = f"--faked-system-time {faked}" if faked else ""
        program.write_text(f"#!/bin/sh\nGNUPGHOME='{self.home}' exec gpg {option} \"$@\"\n")
        program.chmod(0o700)
        return {"gpg.format": "openpgp", "gpg.program": str(program), "user.signingkey": f"{name}@example.com"}


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    # The path of a socket is limited to about 100 characters.
    with tempfile.TemporaryDirectory(prefix="kv-") as name:
        made = Ring(Path(name))
        try:
            for who in ("ada", "eve"):
                made.gpg("--quick-gen-key", f"{who}@example.com", "ed25519", "sign", "0")
            made.gpg(
                "--faked-system-time", "20200101T000000", "--quick-gen-key", "old@example.com", "ed25519", "sign", "30d"
            )
            yield made
        finally:
            environ = {**os.environ, "GNUPGHOME": name}
            subprocess.run(["gpgconf", "--kill", "all"], env=environ, check=False, capture_output=True, timeout=60)


@needs_gpg
def test_openpgp(lab: Lab, ring: Ring) -> None:
    """The signers of both lists may sign; others may not."""
    lab.commit("ada", {KEYRING: ring.public("ada")})
    lab.commit(None, settings=ring.settings("ada"))
    lab.commit("bob")
    assert lab.findings() == ()
    bad = lab.commit(None, settings=ring.settings("eve"))
    assert lab.found() == [("signer-unknown", bad)]
    unsigned = lab.commit(None)
    assert lab.found() == [("signer-unknown", bad), ("unsigned", unsigned)]


@needs_gpg
def test_openpgp_from_outside(lab: Lab, ring: Ring, tmp_path: Path) -> None:
    """The list of --signers may be armoured or not."""
    trusted = lab.vault.head
    lab.commit(None, settings=ring.settings("eve"))
    for arguments in (("--armor", "--export", "eve@example.com"), ("--export", "eve@example.com")):
        (tmp_path / "list").write_bytes(ring.gpg(*arguments))
        assert lab.found(signers=[tmp_path / "list"], since=trusted) == []


@needs_gpg
def test_openpgp_altered(lab: Lab, ring: Ring) -> None:
    """A signature of other content is bad."""
    lab.commit("ada", {KEYRING: ring.public("ada")})
    lab.commit(None, settings=ring.settings("ada"))
    raw = lab.vault.git("cat-file", "commit", "HEAD").replace("by hand", "by foot") + "\n"
    oid = lab.vault.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=raw.encode())
    lab.vault.git("reset", "--quiet", "--hard", oid)
    assert lab.found() == [("signature-bad", oid)]


@needs_gpg
def test_openpgp_expired(lab: Lab, ring: Ring) -> None:
    """Signatures of an expired key are not accepted, even of earlier commits: anybody can set a clock back."""
    lab.commit("ada", {KEYRING: ring.public("old", "ada")})
    bad = lab.commit(None, settings=ring.settings("old", faked="20200110T000000"))
    assert lab.found() == [("signature-expired", bad)]


@needs_gpg
def test_the_users_keyring_is_not_asked(lab: Lab, ring: Ring) -> None:
    """The user's keyring allows no signers, and the audit adds nothing to it."""
    bad = lab.commit(None, settings=ring.settings("ada"))
    lab.vault.environ["GNUPGHOME"] = str(ring.home)
    assert lab.found() == [("signer-unknown", bad)]
    home = Path(lab.vault.environ["HOME"]) / ".gnupg"
    assert not home.exists()


def only(lab: Lab, *programs: str) -> None:
    """Restrict the PATH to these programs."""
    folder = lab.vault.top / "bin"
    folder.mkdir()
    for name in programs:
        (folder / name).symlink_to(str(shutil.which(name)))
    lab.vault.environ["PATH"] = str(folder)


@needs_gpg
def test_without_gpg(lab: Lab, ring: Ring) -> None:
    """Signatures that need it cannot be checked; all others are."""
    lab.commit("ada", {KEYRING: ring.public("ada")})
    unchecked = lab.commit(None, settings=ring.settings("ada"))
    lab.commit("bob")
    unsigned, unknown = lab.commit(None), lab.commit("eve")
    only(lab, "git", "ssh-keygen")
    assert lab.found() == [
        ("signature-unchecked", unchecked),
        ("unsigned", unsigned),
        ("signer-unknown", unknown),
    ]


def test_without_ssh_keygen(lab: Lab) -> None:
    """The same with the other program."""
    one, two, three = reversed(lab.vault.git("rev-list", "HEAD").splitlines())
    unsigned = lab.commit(None)
    only(lab, "git")
    assert one not in dict(lab.found()).values()
    assert lab.found() == [("signature-unchecked", two), ("signature-unchecked", three), ("unsigned", unsigned)]


def test_no_list_is_left_behind(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary files of a check are removed."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    assert lab.findings() == ()
    assert list((tmp_path / "scratch").iterdir()) == []
