"""Rows of the site: rendered from scratch, incrementally after one rotation, by Hugo; published to an object store."""

from __future__ import annotations

import itertools
import shlex
from functools import partial

import sites
from auditing import blobs
from growth import at_sets
from measure import Side
from peers import program
from rows import Row
from world import CLOCKED, WORKLOADS, World


def rows(world: World) -> list[Row]:
    """Return the rows."""
    size = world.size
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


def _render(world: World) -> tuple[Side, Side]:
    sets = world.size.large
    vault, packed, written = world.vault(sets, "rotated"), world.folder / "site.pickle", world.folder / "written"
    world.run(*WORKLOADS, "pack", sites.rendered(world, vault), packed)
    unpack = shlex.join([*WORKLOADS, "unpack", str(packed), str(written)])
    floor = f"{blobs(vault)} >/dev/null && exec {unpack}"
    return (
        at_sets(world, "render", sets),
        Side(
            "git cat-file --batch; writing the same files from Python",
            ("sh", "-c", floor),
            world.work,
            after=partial(world.put_aside, written),
        ),
    )


def _render_one(world: World) -> tuple[Side, Side]:
    vault, copy = world.vault(world.size.large, "rotated"), world.folder / "rotated-on"
    site, nothing = world.folder / "site-again", world.folder / "site-anew"
    call = (*CLOCKED, "--vault", str(copy), "render", "--output")
    world.fresh_copy(vault, copy)
    world.run(*call, site)
    sets = itertools.count()

    def rotated() -> None:
        # Another one each time: what is left to do is the same.
        force = ("--force", "--reason", "benchmark")
        world.run(*CLOCKED, "--vault", copy, "rotate", f"set-{next(sets):05}", *force)

    return (
        Side("keyvault render, over the previous site", (*call, str(site)), world.work, before=rotated),
        Side("from scratch", (*call, str(nothing)), world.work, after=partial(world.put_aside, nothing)),
    )


def _hugo(world: World) -> tuple[Side, Side]:
    vault = world.vault(world.size.large, "rotated")
    pages = sum(1 for _ in sites.rendered(world, vault).rglob("*.html"))
    source, target = world.folder / "hugo", world.folder / "hugo-site"
    if not source.exists():
        world.run(*WORKLOADS, "pages", source, str(pages))
    command = (program("hugo"), "--quiet", "--source", str(source), "--destination", str(target))
    return (
        at_sets(world, "render", world.size.large),
        Side(f"hugo, {pages:,} pages", command, world.work, after=partial(world.put_aside, target)),
    )


def _publish(world: World) -> tuple[Side, Side]:
    vault = world.vault(world.size.published, "rotated")
    site, place, numbers = sites.rendered(world, vault), world.folder / "prefix", itertools.count(1)
    files = sum(path.is_file() for path in site.rglob("*"))
    store = sites.object_store(world)

    def another_prefix() -> None:
        place.write_text(f"{store['BUCKET']}/run-{next(numbers)}")

    # As rclone wants it: everything about the remote from the environment, all else as it is by default.
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
        Side(f"keyvault publish, {label}", ("sh", "-c", ours), world.work, environ=store, before=another_prefix),
        Side(
            f"rclone copy, {label}",
            ("sh", "-c", theirs),
            world.work,
            environ={**store, **remote},
            before=another_prefix,
        ),
    )
