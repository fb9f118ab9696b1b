"""
Fetch from and push to the remote of a branch, through GitPython.

The processes that it starts get the same hardened environment as all others. Its own ``fetch`` and ``push`` are
not used: they lose what git says about a push of a commit by its id, and most of what the other side says.

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
from keyvault.repo.git import SECRETS, Git, killed

if TYPE_CHECKING:
    from git.cmd import Git as AnyGit

logger = get_logger(__name__)

#: How a remote may be reached; nothing that starts a program of its url's choice.
PROTOCOLS = "file:git:http:https:ssh"

#: What git says when somebody else pushed first. The last three come from the other side, when two pushes
#: meet there.
RACES = (
    "fetch first",
    "non-fast-forward",
    "stale info",
    "failed to update ref",
    "cannot lock ref",
    "incorrect old value",
)

#: Settings that name a program and may decide whether a remote can be reached, with what takes their place.
_REPLACEMENTS = {
    "core.sshcommand": 'export GIT_SSH_COMMAND="$(git config core.sshCommand)"',
    "credential.helper": 'git config --global credential.helper "$(git config --local credential.helper)"',
    "core.askpass": 'export GIT_ASKPASS="$(git config core.askPass)"',
}

#: GitPython, when it is imported, runs ``git version`` twice, unless there is no git.
_IMPORTING = {"GIT_PYTHON_REFRESH": "quiet", "GIT_PYTHON_GIT_EXECUTABLE": os.devnull}

#: How long an interrupted git, and what it talked to, may take to end, in seconds.
_ENDING = 5.0


@dataclass
class Remote:
    """
    Where a branch is fetched from and pushed to.

    Attributes:
        git: The repository.
        remote: Name of the remote.
        branch: Full name of the branch there.
    """

    git: Git
    remote: str
    branch: str
    _settings: list[tuple[str, str]] = field(repr=False)
    _two_places: bool = field(default=False, repr=False)
    #: The commit that was fetched last, and the one on which the last push was refused.
    _fetched: Commit | None = field(default=None, repr=False)
    _refused: Commit | None = field(default=None, repr=False)

    @classmethod
    def of(cls, git: Git, branch: str) -> Remote:
        """
        Return the remote that *branch* follows: the configured one, or ``origin``.

        Raises:
            GitError: There is no such remote, or it lies in the repository itself.
        """
        short = branch.removeprefix("refs/heads/")
        remote = git.configuration.setting(f"branch.{short}.remote") or "origin"
        merge = git.configuration.setting(f"branch.{short}.merge") or branch
        if remote.startswith("-") or git.configuration.setting(f"remote.{remote}.url") is None:
            raise GitError(f"there is no remote {quoted(remote, 60)} to push to", hint="git remote add origin URL")
        found = cls(git, remote, merge, git.configuration.programs())
        found._check_places()
        return found

    @property
    def name(self) -> str:
        return f"{self.remote}/{self.branch.removeprefix('refs/heads/')}"

    @property
    def _tracking(self) -> str:
        return f"refs/remotes/{self.remote}/{self.branch.removeprefix('refs/heads/')}"

    def had_any(self, local: Commit, theirs: Commit) -> bool:
        """Whether this clone saw a commit on the remote that *local* has, and *theirs*, which is there now, has not."""
        seen = self.git.run("log", "-g", "--format=%H", self._tracking, "--", ok=(0, 128)).decode().split()
        return not set(seen).isdisjoint(self.git.run("rev-list", local, f"^{theirs}", "--").decode().split())

    @property
    def locks(self) -> tuple[Path, ...]:
        """The locks of this repository that git holds while it fetches or pushes."""
        return self.git.common_dir / f"{self._tracking}.lock", self.git.common_dir / "packed-refs.lock"

    def _call(self, verb: str, *arguments: str) -> tuple[int, str, str]:
        """Run ``git fetch`` or ``git push``, and return its exit code and what it wrote to stdout and stderr."""
        with _set_environment(_IMPORTING):
            from git import GitError as AnyGitError
            from git import Repo

        environment = {
            **self.git.environment(self._settings),
            **self.git.configuration.proxy(),
            "GIT_ALLOW_PROTOCOL": self.git.environ.get("GIT_ALLOW_PROTOCOL", PROTOCOLS),
            # GitPython adds the environment of this process, in which secrets may stand, and expands variables in
            # the path of the folder that it runs git in: neither may decide where git works.
            "GIT_DIR": str(self.git.git_dir),
            "GIT_OBJECT_DIRECTORY": str(self.git.common_dir / "objects"),
            **dict.fromkeys(SECRETS, ""),
        }
        # How much there is git tells people only, in words that change.
        label = f"{verb}ing"
        self.git.progress(label, 0, 0)
        try:
            with Repo(self.git.git_dir if self.git.bare else self.git.root, expand_vars=False) as repo:
                repo.git.update_environment(**environment)
                process = repo.git.execute(["git", verb, *arguments], as_process=True)
                output, errors = _ended(process, stands=verb == "push")
        except (AnyGitError, ValueError, OSError) as error:
            raise GitError(f"cannot {verb} {self.name}: {elided(str(error))[:200]}") from None
        self.git.progress(label, 1, 1)
        if process.returncode < 0:
            raise killed(verb, -process.returncode)
        return process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")

    def _check_places(self) -> None:
        """Refuse a remote that came with the repository: git runs the hooks that lie in a remote on this machine."""
        inside = [folder for folder in (self.git.root, self.git.git_dir, self.git.common_dir) if folder]
        if any("\n" in text for text in self.git.configuration.settings_below("remote.", "url.")):
            raise GitError(
                "a URL of a remote has a line break", hint="git config --list --show-origin; git remote set-url"
            )
        urls: dict[str, list[str]] = {"(fetch)": [], "(push)": []}
        for line in self.git.run("remote", "--verbose").decode(errors="surrogateescape").splitlines():
            name, _, rest = line.partition("\t")
            # A partial clone has the name of its filter behind that.
            found = re.fullmatch(r"(.*) (\(fetch\)|\(push\))(?: \[.*\])?", rest)
            if name == self.remote and found:
                urls[found[2]].append(found[1])
        self._two_places = urls["(fetch)"] != urls["(push)"]
        for url in dict.fromkeys(urls["(fetch)"] + urls["(push)"]):
            path = url.removeprefix("file://")
            if path == url and ":" in url.partition("/")[0]:
                continue  # https://host, host:path
            place = (inside[0] / path).resolve()
            if any(place.is_relative_to(folder.resolve()) for folder in inside):
                raise GitError(
                    f"{quoted(url, 200)}, the remote {self.remote}, lies in this repository",
                    hint="a remote lies elsewhere: git remote set-url",
                )

    def fetch(self) -> Commit | None:
        """
        Fetch the branch and return its commit, or None when the remote does not have it yet.

        Raises:
            GitError: If the remote cannot be reached, or pushes go to another repository than fetches come from.
        """
        code, _output, errors = self._call(
            "fetch",
            "--no-tags",
            "--no-write-fetch-head",
            # An option is the only thing that goes before the repository's own setting.
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
        if commit is not None and commit == self._refused and self._two_places:
            raise GitError(
                f"{self.remote} is fetched from one place and pushed to another, and that one has other commits",
                hint=f"git remote -v shows both; git remote set-url --push {self.remote} URL",
            )
        self._fetched = commit
        return commit

    def push(self, commit: Commit) -> None:
        """
        Push *commit* to the branch; it must be a descendant of what is there.

        Raises:
            ConflictError: Somebody pushed first.
            GitError: The remote refused, or cannot be reached.
        """
        self._push(commit)

    def replace(self, commit: Commit, *, old: Commit | None) -> None:
        """
        Put *commit* in the place of *old*, or of nothing, whatever its history; errors as for `push`.

        Nothing is replaced that somebody else has put there since.
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
        # The line of a branch that was refused: `!`, from and to, and why.
        why = next((line.split("\t")[-1] for line in output.splitlines() if line.startswith("!\t")), None)
        if why is None:
            raise self._failure("push", errors)
        if any(race in why for race in RACES):
            self._refused = self._fetched
            raise ConflictError(f"{self.name} has moved: {elided(why)[:200]}")
        said = [line.removeprefix("remote:").strip() for line in errors.splitlines() if line.startswith("remote:")]
        reason = next((f": {line}" for line in said if line), "")
        raise GitError(f"{self.name} refused the push: {elided(why + reason)[:300]}", hint=_refusal_hint(why + errors))

    def _failure(self, verb: str, errors: str) -> GitError:
        """Return the error for a fetch or push that failed, from what git wrote to stderr."""
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        telling = [line for line in lines if "fatal:" in line or "error:" in line] or lines or ["no reason given"]
        line = telling[0].removeprefix("fatal: ").removeprefix("error: ").rstrip(".")
        passed_over = [name for name in _REPLACEMENTS if name in self.git.configuration.programs_of_repository]
        if line.startswith("transport ") and line.endswith("not allowed"):
            hint = f"GIT_ALLOW_PROTOCOL={PROTOCOLS}:NAME lets it through, where you trust the url"
        elif passed_over:
            line = f"{line}; {passed_over[0]} of this repository is not used, since a repository names no program"
            hint = f"if you trust it: {_REPLACEMENTS[passed_over[0]]}"
        elif "could not read Username" in errors or "Authentication failed" in errors or "Permission denied" in errors:
            hint = "check your credentials for the remote"
        else:
            hint = _refusal_hint(errors) or "check the remote: git remote -v"
        return GitError(f"cannot {verb} {self.name}: {elided(line)[:400]}", hint=hint)


def _ended(process: AnyGit.AutoInterrupt, *, stands: bool) -> tuple[bytes, bytes]:
    """
    Wait for the end of git, and return what it wrote to stdout and stderr.

    Where what git has done *stands*, Ctrl-C comes too late once git is done: "interrupted" would not be true.
    """
    try:
        output, errors = process.communicate()
    except KeyboardInterrupt:
        # The other end, where it is on this machine, removes what it took in, and must have the time for it: where we
        # are the first process of a terminal, it goes away with us. It has ended when nobody writes to stderr any more.
        try:
            output, errors = process.communicate(timeout=_ENDING)
        except subprocess.TimeoutExpired:
            process.terminate()
        else:
            if stands and not process.returncode:
                return bytes(output), bytes(errors)
        raise
    return bytes(output), bytes(errors)


@contextlib.contextmanager
def _set_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set *variables* in the environment of this process for a moment."""
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
        return "the branch is protected: let this user bypass the rule, or rotate on a branch and merge it"
    if "hook declined" in lowered:
        return "a hook of the remote declined it; its messages say why"
    return None
