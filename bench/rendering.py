"""Rows of the site: rendered from scratch, incrementally after one rotation, by Hugo; published to an object store."""

from __future__ import annotations

import itertools
import shlex
from functools import partial

import sites
from auditing import blobs
from fixtures import CLOCKED, WORKLOADS, Workspace
from growth import at_sets
from measure import Side
from peers import program
from rows import Row


def rows(workspace: Workspace) -> list[Row]:
    """Return the rows."""
    size = workspace.size
    sets = f"{size.large:,} sets of three keys"
    return [
        Row(
            "render",
            f"{sets}, rendered from scratch, against `git cat-file --batch` and Python writing the same files",
            _render,
            size.runs,
            bound=3,
        ),
        Row(
            "render-one",
            f"{sets}, rendered incrementally after one rotation, against a render from scratch",
            _render_one,
            size.runs,
            bound=0.1,
        ),
        Row(
            "render-hugo",
            f"{sets}, rendered from scratch, against Hugo and as many pages",
            _hugo,
            size.runs,
            needs=("hugo",),
        ),
        Row(
            "publish",
            f"{size.published:,} sets of three keys to SeaweedFS, against `rclone copy` of the rendered files",
            _publish,
            size.runs,
            needs=("rclone", "weed"),
        ),
    ]


def _render(workspace: Workspace) -> tuple[Side, Side]:
    sets = workspace.size.large
    vault, packed, written = (
        workspace.vault(sets, "rotated"),
        workspace.folder / "site.pickle",
        workspace.folder / "written",
    )
    workspace.run(*WORKLOADS, "pack", sites.rendered(workspace, vault), packed)
    unpack = shlex.join([*WORKLOADS, "unpack", str(packed), str(written)])
    floor = f"{blobs(vault)} >/dev/null && exec {unpack}"
    return (
        at_sets(workspace, "render", sets),
        Side(
            "git cat-file --batch; writing the same files from Python",
            ("sh", "-c", floor),
            workspace.work,
            after=partial(workspace.put_aside, written),
        ),
    )


def _render_one(workspace: Workspace) -> tuple[Side, Side]:
    vault, copy = workspace.vault(workspace.size.large, "rotated"), workspace.folder / "rotated-on"
    site, nothing = workspace.folder / "site-again", workspace.folder / "site-anew"
    call = (*CLOCKED, "--vault", str(copy), "render", "--output")
    workspace.fresh_copy(vault, copy)
    workspace.run(*call, site)
    sets = itertools.count()

    def rotated() -> None:
        # Another set each time, so that every run has the same work.
        force = ("--force", "--reason", "benchmark")
        workspace.run(*CLOCKED, "--vault", copy, "rotate", f"set-{next(sets):05}", *force)

    return (
        Side("keyvault render, over the previous site", (*call, str(site)), workspace.work, before=rotated),
        Side("from scratch", (*call, str(nothing)), workspace.work, after=partial(workspace.put_aside, nothing)),
    )


def _hugo(workspace: Workspace) -> tuple[Side, Side]:
    vault = workspace.vault(workspace.size.large, "rotated")
    pages = sum(1 for _ in sites.rendered(workspace, vault).rglob("*.html"))
    source, target = workspace.folder / "hugo", workspace.folder / "hugo-site"
    if not source.exists():
        workspace.run(*WORKLOADS, "pages", source, str(pages))
    command = (program("hugo"), "--quiet", "--source", str(source), "--destination", str(target))
    return (
        at_sets(workspace, "render", workspace.size.large),
        Side(f"hugo, {pages:,} pages", command, workspace.work, after=partial(workspace.put_aside, target)),
    )


def _publish(workspace: Workspace) -> tuple[Side, Side]:
    vault = workspace.vault(workspace.size.published, "rotated")
    site, place, numbers = sites.rendered(workspace, vault), workspace.folder / "prefix", itertools.count(1)
    files = sum(path.is_file() for path in site.rglob("*"))
    store = sites.object_store(workspace)

    def another_prefix() -> None:
        place.write_text(f"{store['BUCKET']}/run-{next(numbers)}")

    # rclone reads the remote from the environment; everything else stays at its defaults.
    remote = {
        "RCLONE_CONFIG_WEED_TYPE": "s3",
        "RCLONE_CONFIG_WEED_PROVIDER": "Other",
        "RCLONE_CONFIG_WEED_ENV_AUTH": "true",
        "RCLONE_CONFIG_WEED_ENDPOINT": store["AWS_ENDPOINT_URL"],
        "RCLONE_CONFIG_WEED_REGION": store["AWS_REGION"],
    }
    ours = f'exec {shlex.join([*CLOCKED, "--vault", str(vault), "publish"])} "s3://$(cat {shlex.quote(str(place))})"'
    theirs = f'exec {program("rclone")} copy {shlex.quote(str(site))} "weed:$(cat {shlex.quote(str(place))})"'
    label = f"{files:,} objects"
    return (
        Side(f"keyvault publish, {label}", ("sh", "-c", ours), workspace.work, environ=store, before=another_prefix),
        Side(
            f"rclone copy, {label}",
            ("sh", "-c", theirs),
            workspace.work,
            environ={**store, **remote},
            before=another_prefix,
        ),
    )
