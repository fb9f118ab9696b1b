"""
Fetch from and push to the remote of a branch, through GitPython.

GitPython gives typed results of a push and progress; the processes that it starts get the same hardened
environment as all others. Source: GitPython's reference, docs/adr/0009.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from keyvault.core.text import printable
from keyvault.errors import ConflictError, GitError
from keyvault.repo.git import Git

#: How a remote may be reached; nothing that starts a program of its url's choice.
PROTOCOLS = "file:git:http:https:ssh"


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

    @classmethod
    def of(cls, git: Git, branch: str) -> Remote:
        """
        Return the remote that *branch* follows: the configured one, or ``origin``.

        Raises:
            GitError: There is no such remote, or it lies in the repository itself.
        """
        short = branch.removeprefix("refs/heads/")
        remote = git.setting(f"branch.{short}.remote") or "origin"
        merge = git.setting(f"branch.{short}.merge") or branch
        if remote.startswith("-") or git.setting(f"remote.{remote}.url") is None:
            raise GitError(f"there is no remote {printable(remote)!r:.60} to push to", hint="git remote add origin URL")
        found = cls(git, remote, merge, git.programs())
        found._check_place()
        return found

    @property
    def name(self) -> str:
        return f"{self.remote}/{self.branch.removeprefix('refs/heads/')}"

    def _open(self) -> Any:
        from git import Repo

        repo = Repo(self.git.git_dir if self.git.bare else self.git.root, expand_vars=False)
        repo.git.update_environment(
            **{
                **self.git.environment(self._settings),
                **self.git.proxy(),
                # GitPython expands variables in the folder that it runs git in: it must not be the folder that decides.
                "GIT_DIR": str(self.git.git_dir),
                "GIT_ALLOW_PROTOCOL": self.git.environ.get("GIT_ALLOW_PROTOCOL", PROTOCOLS),
                # GitPython adds the environment of this process, in which secrets may stand.
                "KEYVAULT_IDENTITY": "",
                "KEYVAULT_PASSPHRASE": "",
            }
        )
        return repo

    def _check_place(self) -> None:
        """Refuse a remote that came with the repository: git runs the hooks that lie in a remote on this machine."""
        inside = [folder for folder in (self.git.root, self.git.git_dir, self.git.common_dir) if folder]
        for option in ((), ("--push",)):
            urls = self.git.run("remote", "get-url", "--all", *option, self.remote).decode(errors="surrogateescape")
            for url in urls.splitlines():
                path = url.removeprefix("file://")
                if path == url and ":" in url.partition("/")[0]:
                    continue  # https://host, host:path
                place = (inside[0] / path).resolve()
                if any(place.is_relative_to(folder.resolve()) for folder in inside):
                    raise GitError(
                        f"{printable(url)!r:.200}, the remote {self.remote}, lies in this repository",
                        hint="a remote lies elsewhere: git remote set-url",
                    )

    def fetch(self) -> str | None:
        """
        Fetch the branch and return its commit, or None when the remote does not have it yet.

        Raises:
            GitError: The remote cannot be reached.
        """
        from git import GitCommandError
        from git import GitError as AnyGitError

        tracking = f"refs/remotes/{self.remote}/{self.branch.removeprefix('refs/heads/')}"
        try:
            with self._open() as repo:
                repo.remote(self.remote).fetch(
                    f"+{self.branch}:{tracking}",
                    no_tags=True,
                    # It is ours, and the only thing that goes before the repository's own setting.
                    upload_pack="git-upload-pack",
                    allow_unsafe_options=True,
                )
        except GitCommandError as error:
            if "couldn't find remote ref" in str(error.stderr).lower():
                return None
            raise _failure("fetch", self.name, error) from None
        except (AnyGitError, ValueError, OSError) as error:
            raise GitError(f"cannot fetch {self.name}: {printable(str(error))[:200]}") from None
        return self.git.resolve(tracking)

    def push(self, commit: str) -> None:
        """
        Push *commit* to the branch; it must be a descendant of what is there.

        Raises:
            ConflictError: Somebody pushed first.
            GitError: The remote refused, or cannot be reached.
        """
        from git import GitCommandError, PushInfo
        from git import GitError as AnyGitError

        try:
            with self._open() as repo:
                results = repo.remote(self.remote).push(
                    f"{commit}:{self.branch}", receive_pack="git-receive-pack", allow_unsafe_options=True
                )
        except GitCommandError as error:
            raise _failure("push", self.name, error) from None
        except (AnyGitError, ValueError, OSError) as error:
            raise GitError(f"cannot push to {self.name}: {printable(str(error))[:200]}") from None
        if not results and results.error is not None:
            raise _failure("push", self.name, results.error)
        for info in results:
            if not info.flags & PushInfo.ERROR:
                continue
            summary = printable(info.summary.strip())[:200]
            # "fetch first" and "non-fast-forward" are rejections here; the last two come from the other
            # side, when two pushes meet there.
            races = (
                "fetch first",
                "non-fast-forward",
                "failed to update ref",
                "cannot lock ref",
                "incorrect old value",
            )
            if any(race in summary for race in races):
                raise ConflictError(f"{self.name} has moved: {summary}")
            hint = _refusal_hint(summary + str(results.error or ""))
            raise GitError(f"{self.name} refused the push: {summary}", hint=hint)


def _refusal_hint(text: str) -> str | None:
    lowered = text.lower()
    if "protected branch" in lowered or "gh006" in lowered or "gh013" in lowered:
        return "the branch is protected: let this user bypass the rule, or rotate on a branch and merge it"
    if "hook declined" in lowered:
        return "a hook of the remote declined it; its messages say why"
    return None


def _failure(verb: str, name: str, error: Any) -> GitError:
    text = str(getattr(error, "stderr", "") or error)
    lines = [line.strip(" '") for line in text.splitlines() if line.strip(" '")]
    telling = [line for line in lines if "fatal:" in line or "error:" in line] or lines or ["no reason given"]
    line = telling[0].replace("stderr: '", "").removeprefix("fatal: ").removeprefix("error: ").strip(" '.")
    if "could not read Username" in text or "Authentication failed" in text or "Permission denied" in text:
        hint = "check your credentials for the remote"
    else:
        hint = _refusal_hint(text) or "check the remote: git remote -v"
    return GitError(f"cannot {verb} {name}: {printable(line)[:250]}", hint=hint)
