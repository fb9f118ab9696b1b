"""
Fetch from and push to the remote of a branch, through GitPython.

Its processes get the same hardened environment as all others. GitPython's own ``fetch`` and ``push`` are not used: they
lose git's report about a push of a commit by its id, and most messages of the remote.

Sources: git-fetch(1), git-push(1) for the porcelain format, GitPython's reference, docs/adr/0009.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from keyvault.core.state import Commit
from keyvault.core.text import elided, quoted
from keyvault.errors import ConflictError, GitError
from keyvault.logs import get_logger
from keyvault.repo.git import SECRETS, Git, killed_error

if TYPE_CHECKING:
    from git.cmd import Git as AnyGit

logger = get_logger(__name__)

#: The protocols that a remote may use; none of them lets the URL name a program to start.
PROTOCOLS = "file:git:http:https:ssh"

#: Messages of git if somebody else pushed first. The last three come from the remote, if two pushes arrive together.
RACE_MESSAGES = (
    "fetch first",
    "non-fast-forward",
    "stale info",
    "failed to update ref",
    "cannot lock ref",
    "incorrect old value",
)

#: Settings that name a program and may be needed to reach a remote, each with a command that replaces it.
_REPLACEMENTS = {
    "core.sshcommand": 'export GIT_SSH_COMMAND="$(git config core.sshCommand)"',
    "credential.helper": 'git config --global credential.helper "$(git config --local credential.helper)"',
    "core.askpass": 'export GIT_ASKPASS="$(git config core.askPass)"',
}

#: The environment in which to import GitPython: without a git to find, it does not run ``git version`` twice.
_IMPORT_ENVIRONMENT = {"GIT_PYTHON_REFRESH": "quiet", "GIT_PYTHON_GIT_EXECUTABLE": os.devnull}

#: How long an interrupted git and its remote may take to end, in seconds.
_END_TIMEOUT = 5.0


@dataclass
class Remote:
    """
    The remote of a branch.

    Attributes:
        git: The repository.
        remote: Name of the remote.
        branch: Full name of the branch there.
    """

    git: Git
    remote: str
    branch: str
    _settings: list[tuple[str, str]] = field(repr=False)
    #: Whether the remote has another URL for pushing than for fetching.
    _pushes_elsewhere: bool = field(default=False, repr=False)
    #: The commit that was fetched last, and the fetched commit on which a push lost a race last.
    _fetched: Commit | None = field(default=None, repr=False)
    _lost_race_on: Commit | None = field(default=None, repr=False)

    @classmethod
    def of(cls, git: Git, branch: str) -> Remote:
        """
        Return the remote that is configured for *branch*, or ``origin``.

        Raises:
            GitError: If there is no such remote, or it is inside the repository itself.
        """
        short = branch.removeprefix("refs/heads/")
        remote = git.configuration.setting(f"branch.{short}.remote") or "origin"
        merge = git.configuration.setting(f"branch.{short}.merge") or branch
        if remote.startswith("-") or git.configuration.setting(f"remote.{remote}.url") is None:
            raise GitError(
                f"there is no remote {quoted(remote, 60)} to push to",
                code="remote-missing",
                hint="git remote add origin URL",
            )
        found = cls(git, remote, merge, git.configuration.programs())
        found._check_urls()
        return found

    @property
    def name(self) -> str:
        return f"{self.remote}/{self.branch.removeprefix('refs/heads/')}"

    @property
    def _tracking(self) -> str:
        return f"refs/remotes/{self.remote}/{self.branch.removeprefix('refs/heads/')}"

    def was_rewound(self, local: Commit, theirs: Commit) -> bool:
        """Whether the remote, now at *theirs*, once had a commit of *local* that is not in the history of *theirs*."""
        seen = self.git.run("log", "-g", "--format=%H", self._tracking, "--", ok=(0, 128)).decode().split()
        return not set(seen).isdisjoint(self.git.run("rev-list", local, f"^{theirs}", "--").decode().split())

    @property
    def locks(self) -> tuple[Path, ...]:
        """The locks that git holds in this repository while it fetches or pushes."""
        return self.git.common_dir / f"{self._tracking}.lock", self.git.common_dir / "packed-refs.lock"

    def _call(self, verb: str, *arguments: str) -> tuple[int, str, str]:
        """Run ``git fetch`` or ``git push``, and return its exit code, stdout and stderr."""
        with _set_environment(_IMPORT_ENVIRONMENT):
            from git import GitError as AnyGitError
            from git import Repo

        environment = {
            **self.git.environment(self._settings),
            **self.git.configuration.environment_without_proxy(),
            "GIT_ALLOW_PROTOCOL": self.git.environ.get("GIT_ALLOW_PROTOCOL", PROTOCOLS),
            # GitPython adds the environment of this process, which may contain secrets and other values of these two
            # variables, and expands variables in the path of its folder. Git must still work in this repository.
            "GIT_DIR": str(self.git.git_dir),
            "GIT_OBJECT_DIRECTORY": str(self.git.common_dir / "objects"),
            **dict.fromkeys(SECRETS, ""),
        }
        # Git reports the amount of work only in human-readable words, which change.
        label = f"{verb}ing"
        self.git.progress(label, 0, 0)
        try:
            with Repo(self.git.git_dir if self.git.bare else self.git.root, expand_vars=False) as repo:
                repo.git.update_environment(**environment)
                process = repo.git.execute(["git", verb, *arguments], as_process=True)
                output, errors = _wait_for_end(process, lasting=verb == "push")
        except (AnyGitError, ValueError, OSError) as error:
            raise GitError(f"cannot {verb} {self.name}: {elided(str(error))[:200]}", code="remote-failed") from None
        self.git.progress(label, 1, 1)
        if process.returncode < 0:
            raise killed_error(verb, -process.returncode)
        return process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")

    def _check_urls(self) -> None:
        """Refuse a remote inside the repository: git runs the hooks of a remote on this machine."""
        folders = [folder for folder in (self.git.root, self.git.git_dir, self.git.common_dir) if folder]
        if any("\n" in text for text in self.git.configuration.settings_below("remote.", "url.")):
            raise GitError(
                "the URL of a remote has a line break",
                code="remote-url-invalid",
                hint="git config --list --show-origin; git remote set-url",
            )
        urls: dict[str, list[str]] = {"(fetch)": [], "(push)": []}
        for line in self.git.run("remote", "--verbose").decode(errors="surrogateescape").splitlines():
            name, _, rest = line.partition("\t")
            # In a partial clone, the name of its filter follows.
            found = re.fullmatch(r"(.*) (\(fetch\)|\(push\))(?: \[.*\])?", rest)
            if name == self.remote and found:
                urls[found[2]].append(found[1])
        self._pushes_elsewhere = urls["(fetch)"] != urls["(push)"]
        for url in dict.fromkeys(urls["(fetch)"] + urls["(push)"]):
            path = url.removeprefix("file://")
            if path == url and ":" in url.partition("/")[0]:
                continue  # https://host, host:path
            place = (folders[0] / path).resolve()
            if any(place.is_relative_to(folder.resolve()) for folder in folders):
                raise GitError(
                    f"the remote {self.remote} is inside this repository: {quoted(url, 200)}",
                    code="remote-url-invalid",
                    hint="use a remote elsewhere: git remote set-url",
                )

    def fetch(self) -> Commit | None:
        """
        Fetch the branch and return its commit, or None if the remote does not have the branch yet.

        Raises:
            GitError: If the remote cannot be reached, or pushes go to a different repository than fetches.
        """
        code, _output, errors = self._call(
            "fetch",
            "--no-tags",
            "--no-write-fetch-head",
            # Only an option overrides the repository's own setting.
            "--upload-pack=git-upload-pack",
            "--",
            self.remote,
            f"+{self.branch}:{self._tracking}",
        )
        if code and "couldn't find remote ref" in errors.lower():
            return None
        if code:
            raise self._failure("fetch", errors)
        commit = self.git.resolve(self._tracking)
        logger.info("fetched %s: commit %s", self.name, commit)
        if commit is not None and commit == self._lost_race_on and self._pushes_elsewhere:
            raise GitError(
                f"the push URL of {self.remote} differs from its fetch URL, and has other commits",
                code="remote-url-differs",
                hint=f"git remote -v shows both; git remote set-url --push {self.remote} URL",
            )
        self._fetched = commit
        return commit

    def push(self, commit: Commit) -> None:
        """
        Push *commit* to the branch; it must be a descendant of the branch's commit.

        Raises:
            ConflictError: If somebody else pushed first.
            GitError: If the remote refused, or cannot be reached.
        """
        self._push(commit)

    def replace(self, commit: Commit, *, old: Commit | None) -> None:
        """
        Push *commit* to the branch whatever its history, if the branch is still at *old*; None for no branch.

        Raises:
            ConflictError: If somebody else pushed first.
            GitError: As for `push`.
        """
        self._push(commit, f"--force-with-lease={self.branch}:{old or ''}")

    def _push(self, commit: Commit, *options: str) -> None:
        code, output, errors = self._call(
            "push",
            "--porcelain",
            "--receive-pack=git-receive-pack",
            *options,
            "--",
            self.remote,
            f"{commit}:{self.branch}",
        )
        if not code:
            logger.info("pushed commit %s to %s", commit, self.name)
            return
        logger.warning("pushing commit %s to %s failed", commit, self.name)
        # The line of a branch that was refused: `!`, from and to, and the reason.
        reason = next((line.split("\t")[-1] for line in output.splitlines() if line.startswith("!\t")), None)
        if reason is None:
            raise self._failure("push", errors)
        if any(race in reason for race in RACE_MESSAGES):
            self._lost_race_on = self._fetched
            raise ConflictError(f"{self.name} has moved: {elided(reason)[:200]}", code="branch-moved")
        messages = [line.removeprefix("remote:").strip() for line in errors.splitlines() if line.startswith("remote:")]
        message = next((f": {line}" for line in messages if line), "")
        raise GitError(
            f"{self.name} refused the push: {elided(reason + message)[:300]}",
            code="push-refused",
            hint=_refusal_hint(reason + errors),
        )

    def _failure(self, verb: str, errors: str) -> GitError:
        """Return the error for a fetch or push that failed, from git's stderr."""
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        reasons = [line for line in lines if "fatal:" in line or "error:" in line] or lines or ["no reason given"]
        line = reasons[0].removeprefix("fatal: ").removeprefix("error: ").rstrip(".")
        ignored = [name for name in _REPLACEMENTS if name in self.git.configuration.programs_of_repository]
        if line.startswith("transport ") and line.endswith("not allowed"):
            hint = f"if you trust the URL: GIT_ALLOW_PROTOCOL={PROTOCOLS}:NAME"
        elif ignored:
            line = f"{line}; {ignored[0]} of this repository is ignored, because a repository must not name programs"
            hint = f"if you trust it: {_REPLACEMENTS[ignored[0]]}"
        elif "could not read Username" in errors or "Authentication failed" in errors or "Permission denied" in errors:
            hint = "check your credentials for the remote"
        else:
            hint = _refusal_hint(errors) or "check the remote: git remote -v"
        return GitError(f"cannot {verb} {self.name}: {elided(line)[:400]}", code="remote-failed", hint=hint)


def _wait_for_end(process: AnyGit.AutoInterrupt, *, lasting: bool) -> tuple[bytes, bytes]:
    """
    Wait for the end of git, and return its stdout and stderr.

    If git has finished a *lasting* change, such as a push, ignore Ctrl-C: to report "interrupted" would be wrong.
    """
    try:
        output, errors = process.communicate()
    except KeyboardInterrupt:
        # If the remote is on this machine, its process needs time to remove the objects that it received, and would end
        # with us if we are the first process of a terminal. It has ended when no process holds stderr any more.
        try:
            output, errors = process.communicate(timeout=_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.terminate()
        else:
            if lasting and not process.returncode:
                return bytes(output), bytes(errors)
        raise
    return bytes(output), bytes(errors)


@contextlib.contextmanager
def _set_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set *variables* in the environment of this process within the context."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _refusal_hint(text: str) -> str | None:
    lowered = text.lower()
    if "protected branch" in lowered or "gh006" in lowered or "gh013" in lowered:
        return "the branch is protected: allow this user to bypass the rule, or rotate on another branch and merge it"
    if "hook declined" in lowered:
        return "a hook of the remote declined it; see its messages"
    return None
