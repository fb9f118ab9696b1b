"""
Build the environment and the configuration of every git process.

Reading a repository must not run a program that the repository names. So hooks, fsmonitor, pager, editor, attributes,
replace refs and the ``ext`` protocol are off, and each setting that names a program comes from the user's own
configuration, never from the repository's. Does not start processes.

Sources: git-config(1); docs/adr/0009.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

#: Settings of every git process; they override every configuration file.
HARDENED: tuple[tuple[str, str], ...] = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", os.devnull),
    ("core.alternateRefsCommand", "true"),
    ("core.fsync", "all"),
    # By default git keeps every part of a pack in memory that it has read; without that, reading is as fast.
    ("core.packedGitWindowSize", "256k"),
    ("core.packedGitLimit", "4m"),
    ("core.deltaBaseCacheLimit", "8m"),
    ("core.pager", "cat"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("protocol.ext.allow", "never"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("push.recurseSubmodules", "no"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("user.useConfigOnly", "true"),
    ("advice.detachedHead", "false"),
    # The user's preferences for logs must not change the output that we parse.
    ("log.showRoot", "true"),
    ("diff.relative", "false"),
    ("diff.orderFile", os.devnull),
    ("i18n.commitEncoding", "UTF-8"),
    ("i18n.logOutputEncoding", "UTF-8"),
)

#: Settings that name a program, each with its default if the user's own configuration has none.
PROGRAMS: dict[str, str] = {
    "core.sshcommand": "ssh",
    "core.askpass": "",
    "gpg.program": "gpg",
    "gpg.openpgp.program": "",
    "gpg.x509.program": "gpgsm",
    "gpg.ssh.program": "ssh-keygen",
    "gpg.ssh.defaultkeycommand": "",
    "credential.helper": "",
}

#: Variables that contain a secret; no child process gets them.
SECRETS = ("KEYVAULT_IDENTITY", "KEYVAULT_PASSPHRASE")

#: Variables of the caller that git gets; all others that begin with GIT_ are removed.
_KEPT_VARIABLES = frozenset(
    {
        "GIT_AUTHOR_NAME",
        "GIT_AUTHOR_EMAIL",
        "GIT_COMMITTER_NAME",
        "GIT_COMMITTER_EMAIL",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_ASKPASS",
        "GIT_PROXY_COMMAND",
        "GIT_TERMINAL_PROMPT",
        "GIT_CEILING_DIRECTORIES",
        "GIT_EXEC_PATH",
    }
)


def process_environment(environ: Mapping[str, str], settings: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """
    Return the environment of a git process: hardened, and with *settings* above all files.

    Args:
        environ: The caller's environment.
        settings: Further configuration, as (name, value).
    """
    kept = {name: value for name, value in environ.items() if not name.startswith("GIT_") or name in _KEPT_VARIABLES}
    for name in SECRETS:
        kept.pop(name, None)
    pairs = (*HARDENED, *settings)
    numbered = {}
    for index, (name, value) in enumerate(pairs):
        numbered[f"GIT_CONFIG_KEY_{index}"] = name
        numbered[f"GIT_CONFIG_VALUE_{index}"] = value
    return {
        **kept,
        **numbered,
        "GIT_CONFIG_COUNT": str(len(pairs)),
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": os.devnull,
        # Reading must not fetch, for example objects that a partial clone omitted.
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "false",
        "GIT_TERMINAL_PROMPT": environ.get("GIT_TERMINAL_PROMPT", "0"),
        "LC_ALL": "C",
    }


@dataclass(frozen=True)
class Configuration:
    """
    The settings that git sees in a repository.

    Attributes:
        entries: Every setting as (scope, name, value); the name in lower case, except for a subsection in the middle.
        environ: The caller's environment.
    """

    entries: list[tuple[str, str, str]]
    environ: Mapping[str, str]

    @classmethod
    def parse(cls, output: bytes, environ: Mapping[str, str]) -> Configuration:
        """Parse the output of ``git config --list --show-scope -z``."""
        parts = output.decode(errors="surrogateescape").split("\0")
        entries = []
        for scope, setting in zip(parts[::2], parts[1::2], strict=False):
            name, newline, value = setting.partition("\n")
            entries.append((scope, name, value if newline else "true"))
        return cls(entries, environ)

    def setting(self, name: str) -> str | None:
        """
        Return the value of a setting, the repository's own included, or None if it is not set.

        For settings that do not name a program; those come from `programs`.
        """
        section, dot, rest = name.partition(".")
        middle, _, member = rest.rpartition(".")
        name = section.lower() + dot + (f"{middle}." if middle else "") + member.lower()
        assert name not in PROGRAMS
        values = [value for scope, known, value in self.entries if known == name and scope != "command"]
        return values[-1] if values else None

    def settings_below(self, *sections: str) -> list[str]:
        """Return the names and values of all settings whose names begin with one of *sections*."""
        found = [(name, value) for _, name, value in self.entries if name.startswith(sections)]
        return [text for pair in found for text in pair]

    def flag(self, name: str) -> bool:
        """Return a boolean setting; false if it is not set."""
        value = self.setting(name)
        return value is not None and value.lower() in ("true", "yes", "on", "1")

    def programs(self) -> list[tuple[str, str]]:
        """Return settings that make git run the user's own programs, whatever the repository says."""
        pinned = []
        for name, default in PROGRAMS.items():
            own = [value for scope, known, value in self.entries if known == name and scope in ("system", "global")]
            if name == "credential.helper":
                # A list: the empty value clears the values of all files; then the user's own follow.
                pinned += [(name, ""), *((name, value) for value in own if value)]
            elif name == "gpg.openpgp.program" and not own:
                pinned.append((name, dict(pinned)["gpg.program"]))  # another name of the same setting
            elif name == "core.sshcommand" and not own and self.environ.get("GIT_SSH"):
                pinned.append((name, shlex.quote(self.environ["GIT_SSH"])))
            else:
                pinned.append((name, own[-1] if own else default))
        pinned += [
            (name, "")
            for name in sorted({name for scope, name, _ in self.entries if scope in ("local", "worktree")})
            if name.startswith("credential.") and name.endswith(".helper") and name not in PROGRAMS
        ]
        return pinned

    @cached_property
    def programs_of_repository(self) -> frozenset[str]:
        """The repository's own settings that name a program, in lower case; they are ignored."""
        return frozenset(
            name for scope, name, value in self.entries if scope in ("local", "worktree") and name in PROGRAMS and value
        )

    def environment_without_proxy(self) -> dict[str, str]:
        """Return variables that stop git from running the repository's ``core.gitProxy``; empty if it sets none."""
        # Git takes the first value of this setting, so a value of ours would come too late.
        named = ("local", "core.gitproxy"), ("worktree", "core.gitproxy")
        if any((scope, name) in named for scope, name, _ in self.entries):
            return {"GIT_PROXY_COMMAND": self.environ.get("GIT_PROXY_COMMAND", "")}
        return {}
