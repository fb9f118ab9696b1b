"""A session of all commands at full verbosity, after which private data must be only where it belongs."""

from __future__ import annotations

import functools
import subprocess
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from keyvault.cli.main import app
from tests.cli.canaries import PASSPHRASE
from tests.cli.recording import Processes
from tests.cli.terminal import Result
from tests.publish.serving import ask
from tests.vaults import DAY, HOUR, MINUTE, SETS, Vault

#: A pair of a command, such as ``key list``, and whether it prints JSON.
Form = tuple[str, bool]


def commands(command: Any = None, path: str = "") -> Iterator[Form]:
    """Yield every command below *command* in each of its forms; by default all commands, hidden ones too."""
    command = typer.main.get_command(app) if command is None else command
    below = getattr(command, "commands", None)
    if below is None or command.invoke_without_command:
        yield path, False
        if any("--json" in parameter.opts for parameter in command.params):
            yield path, True
    for name, one in (below or {}).items():
        yield from commands(one, f"{path} {name}".strip())


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(name for name, _ in commands())


def form_of(arguments: Sequence[str]) -> Form:
    """Return which command a command line runs: the first words that name one, or nothing."""
    pairs = [" ".join(arguments[at : at + length]) for at in range(len(arguments)) for length in (2, 1)]
    return next((pair for pair in pairs if pair in _names()), ""), "--json" in arguments


@dataclass
class Session:
    """
    What was done.

    Attributes:
        ran: How often each command was run, in each of its forms.
        files: The files that are meant to hold private keys.
    """

    ran: Counter[Form] = field(default_factory=Counter)
    files: set[Path] = field(default_factory=set)


def session(keyvault: Processes, url: str) -> Session:
    """
    Make a vault and run every command at -vv.

    Args:
        keyvault: Where; there is no vault yet. It gets the one that is made.
        url: Of the site, which is the folder ``www`` beside the vault.
    """
    done = Session()
    vault = Vault(keyvault.folder, keyvault.environ)
    people, exports = vault.top / "people", vault.top / "exports"
    exports.mkdir()

    def run(*arguments: str | Path, code: int | None = 0, environ: Mapping[str, str] | None = None) -> Result:
        words = [str(word) for word in arguments]
        result = keyvault("-vv", *words, **(environ or {}))
        assert code is None or result.code == code, (words, result.code, result.err[-500:])
        done.ran[form_of(words)] += 1
        return result

    def both(*arguments: str | Path, code: int | None = 0) -> None:
        run(*arguments, code=code)
        run(*arguments, "--json", code=code)

    def wanted(result: Result) -> None:
        """Forget output that was meant to contain a private key."""
        keyvault.everything.remove(result.out)

    # Vaults and people.
    sets = [word for one in SETS for word in ("--set", one)]
    run("init", "--url", url, *sets, "--confirm", "commit")
    keyvault.vault = vault
    bea, ci = people / "bea.json", people / "ci.json"
    secret = {"KEYVAULT_PASSPHRASE": PASSPHRASE}
    public = vault.top / "bea.pub"
    public.write_text(run("identity", "new", "--kid", "bea", "-o", bea).out)
    new = run("identity", "new", "--kid", "ci", "--passphrase", "-o", ci, environ=secret)
    (vault.top / "ci.pub").write_text(new.out)
    run("identity", "new", "--alg", "RSA-OAEP-256", "--json")
    run("identity", "new", "--kid", "sealed", "-o", bea, code=2)
    run("init", "../another", "--url", url, "--json")
    ci_files = ("--ci", "github", "--tool", "jwks-keyvault==1.0")
    run("init", "../ci", "--url", url, "--recipient", public, *ci_files, *sets[:2])
    for alg, name in (("HS256", "hmac"), ("ECDH-ES+A256KW", "mail"), ("EdDSA", "reports"), ("RS256", "rsa")):
        run("set", "add", name, "--alg", alg)
    run("set", "add", "unused", "--dry-run", "--json")
    run("recipient", "add", public)
    run("recipient", "add", vault.top / "ci.pub", "--json")
    run("recipient", "add", ci, code=1)

    # What there is.
    lists = ("status", "plan", "set list", "key list --all", "recipient list", "recipient check", "identity list")
    for command in lists:
        both(*command.split())
    run("plan", "--ical", vault.top / "plan.ics")
    run("plan", "mail", "--simulate", code=None)
    both("key", "show", vault.active("rsa").kid)
    for arguments in (("--version",), ("--help",), ("--show-completion",)):
        run(*arguments, code=None)
    for words in ("keyvault token sign ", "keyvault key show "):
        line = {"_KEYVAULT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        run(code=None, environ=line)

    # Identities from everywhere, and such as do not open.
    elsewhere = {"KEYVAULT_CONFIG_DIR": "/nowhere"}
    run("--identity", bea, "recipient", "check", environ=elsewhere)
    run("--identity", ci, "recipient", "check", environ=elsewhere | secret)
    wrong = {"KEYVAULT_PASSPHRASE": PASSPHRASE + "x"}
    run("--identity", ci, "recipient", "check", environ=elsewhere | wrong, code=1)
    text = bea.read_text()
    run("recipient", "check", environ=elsewhere | secret | {"KEYVAULT_IDENTITY": text})
    for broken in (text[:-20], text.replace('"kty": "EC"', '"kty": "OKP"')):
        run("recipient", "check", environ=elsewhere | {"KEYVAULT_IDENTITY": broken}, code=1)

    # Keys and tokens.
    for name in sorted(vault.state().sets):
        signs = name != "mail"
        token = run("token", "sign", name, "--claim", "sub=alice", code=0 if signs else 2).out.strip()
        pem = "pem" if name != "hmac" else "jwks"  # a secret has no PEM
        run("key", "export", name, "--format", pem, code=0 if name != "hmac" else 2)
        for form in ("jwk", pem):
            run("key", "export", name, "--active", "--private", "--format", form, "-o", exports / f"{name}.{form}")
    both("token", "inspect", token)
    both("token", "verify", token)
    run("key", "export", "rsa", "--private", "--format", "jwks", code=1, environ=elsewhere)
    run("key", "export", "rsa", "--private", "-o", exports / "rsa.jwk", code=2)
    wanted(run("key", "export", "rsa", "--private", "--format", "jwks"))
    wanted(run("key", "generate", "--alg", "EdDSA"))
    run("key", "generate", "-o", exports / "new.jwk", "--public")
    run("key", "generate", "-o", exports / "new.jwk", code=2)

    # Keys in and out.
    password = people / "password"
    password.write_text(PASSPHRASE)
    password.chmod(0o600)
    rsa = ("key", "export", "rsa", "--active", "--private")
    for form in ("pem", "der", "p12"):
        run(*rsa, "--format", form, "--password-file", password, "-o", exports / f"rsa.enc.{form}")
        both("key", "import", "again", exports / f"rsa.enc.{form}", "--password-file", password, code=2)
    run("key", "import", "again", exports / "rsa.enc.p12", "--password-file", public, code=2)
    run("key", "import", "again", exports / "rsa.enc.p12", code=2)
    for form in ("dotenv", "kubernetes-secret"):
        run(*rsa, "--format", form, "-o", exports / f"rsa.{form}")
    run(*rsa, "--format", "x509", "-o", exports / "rsa.crt")
    run(*rsa, "--format", "apiserver", "-o", exports / "pki")
    run(*rsa, "--x5c", "-o", exports / "rsa.x5c.jwk")
    for alg in ("RS256", "ES256", "EdDSA", "ML-DSA-44"):
        run(
            "key",
            "generate",
            "--alg",
            alg,
            "-o",
            exports / f"made.{alg}.jwk",
            "--x509",
            exports / f"{alg}.crt",
            code=None,
        )
    both("key", "import", "house", exports / "made.RS256.jwk", "--dry-run")
    both("key", "import", "house", exports / "made.RS256.jwk")
    run("key", "import", "house", exports / "made.ES256.jwk", "--as", "retiring", "--note", "from elsewhere")
    run("key", "import", "house", exports / "made.EdDSA.jwk", "--as", "active", code=3)
    broken = exports / "broken.jwk"
    broken.write_text((exports / "made.ES256.jwk").read_text().replace('"d": "', '"d": "A'))
    run("key", "import", "house", broken, code=1)
    broken.unlink()
    run("key", "generate", "--alg", "RS256", "--save", "house")
    run("set", "add", "kms", "--alg", "RS256", "--external", "--json")

    # What somebody else may see.
    remote = vault.publish_to()
    www = vault.top / "www"
    both("render")
    run("render", "-o", vault.top / "site", "--ref", "HEAD~3")
    both("publish", www)
    run("publish", "branch:pages")
    run("publish", f"{remote}-nowhere/x", "--dry-run")
    both("check", code=4)
    both("lint", code=None)
    for target in (url, www / ".well-known/jwks.json", exports / "rsa.jwk", exports / "new.jwk"):
        run("lint", target, code=None)
    both("import-check", f"{url}/.well-known/jwks.json")
    run("token", "verify", token, f"{url}/.well-known/jwks.json")
    both("guard")
    both("guard", exports, people, code=5)
    run("guard", "--commits", "HEAD")
    both("audit")
    both("diff", "HEAD~2")
    _serve(keyvault, done)
    run("demo", vault.top / "demo")

    # Changes.
    vault.wait(DAY)
    both("rotate", "--all", "--dry-run")
    run("rotate", "--all", "--push")
    both("rotate", "--due")
    run("rotate", "id-token", "--alg", "ES384", code=None)
    vault.wait(MINUTE)
    run("rotate", "access-token", code=3)
    run("rotate", "access-token", "--force", "--reason", "a drill")
    both("rollback", "access-token", "--dry-run")
    run("rollback", "access-token")
    both("repair")
    both("repair", "--dry-run")
    both("merge-driver", "--install")
    both("merge-driver", "--check")
    revoke = ("revoke", vault.active("reports").kid, "--reason", "compromised", "--note", "a drill")
    run(*revoke, "--dry-run", "--json")
    run(*revoke)
    run("revoke", "x" * 40, "--reason", "compromised", code=2)
    run("recipient", "replace", "bea", bea, "--kid", "bea-2")
    run("recipient", "replace", "bea-2", bea, "--kid", "bea-3", "--dry-run", "--json")
    run("recipient", "remove", "bea-2", "--rotate", "--dry-run", "--json")
    run("recipient", "remove", "bea-2", "--rotate")
    run("set", "remove", "hmac", "--json")
    run("set", "remove", "mail", "--force", "--reason", "a drill")
    vault.wait(3 * HOUR)
    run("rotate", "--due", "--push")
    run("audit")
    run("render")
    run("nonsense", code=2)

    identities = (*vault.top.glob("config/identities/*.json"), *vault.top.glob("demo/.git/*/*/*.json"))
    written = [path for path in exports.rglob("*") if path.is_file()]
    # What is public or encrypted is searched like all the rest.
    open_to_all = {one for one in written if one.suffix == ".crt" or ".enc." in one.name or one.name == "sa.pub"}
    done.files = {bea, ci, password, *written, *identities} - open_to_all
    return done


def _serve(keyvault: Processes, done: Session) -> None:
    """Run the preview, look at it, and stop it."""
    process = keyvault.start("-vv", "serve", "--port", "0")
    assert process.stdout is not None
    address = process.stdout.readline().decode()
    assert address.startswith("serving http://127.0.0.1:"), process.communicate()
    assert ask(address.removeprefix("serving ").strip(), "/.well-known/jwks.json").status == 200
    process.terminate()
    keyvault.everything += [part.decode() for part in process.communicate(timeout=60)]
    done.ran["serve", False] += 1


def objects(vault: Vault) -> dict[str, bytes]:
    """Return every object of every repository beside the vault, including unreachable objects."""
    found = {}
    for head in sorted(vault.top.rglob("HEAD")):
        if (head.parent / "objects").is_dir():
            listing = ["git", "cat-file", "--batch-all-objects", "--batch"]
            printed = subprocess.run(listing, cwd=head.parent, env=vault.environ, capture_output=True, check=True)
            found[f"objects of {head.parent}"] = printed.stdout
    return found


def left(vault: Vault, files: Collection[Path]) -> dict[str, bytes]:
    """Return every file that was left behind, except *files*."""
    return {str(path): path.read_bytes() for path in vault.top.rglob("*") if path.is_file() and path not in files}
