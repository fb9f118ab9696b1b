"""
What is known of large vaults, kept in bench/scale.json: the figures, tables and pictures of docs/scale.md.

The page is written by hand. What stands in it between ``<!-- name -->`` and ``<!-- end -->`` is written from the
figures; a test holds the page against them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fixtures import BENCH
from page import table

FILE = BENCH / "scale.json"
PAGE = BENCH.parent / "docs" / "scale.md"
IMAGES = PAGE.parent / "images"
_PART = re.compile(r"(<!-- ([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)

#: Limits of hosts that docs/scale.md names, with its sources: files of a site, bytes of it, bytes of a file.
HOSTS: Mapping[str, tuple[float, float, float]] = {
    "GitHub Pages": (math.inf, 1e9, math.inf),
    "GitLab.com Pages": (200_000, 1e9, math.inf),
    "Cloudflare Pages, free": (20_000, math.inf, 25 * 2**20),
    "Cloudflare Pages, paid": (100_000, math.inf, 25 * 2**20),
}
#: Sets of which the computed rows speak, and bytes of a month's traffic that GitHub Pages asks to stay below.
_SPOKEN_OF, _MONTHLY = 10_000, 100e9

Figures = dict[str, Any]


def read() -> Figures:
    """Return all figures."""
    found: Figures = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def record(part: str, found: Mapping[str, Any]) -> None:
    """Put what was *found* into the file of figures; what else is there stays."""
    figures = read()
    figures.setdefault(part, {}).update(found)
    FILE.write_text(json.dumps(figures, indent=1) + "\n")


def interrupt_figures(steps: Mapping[str, Figures]) -> Figures:
    """Return what is kept of a run of interrupts.py: no text of a terminal is."""
    return {
        name: {
            **one["whole"],
            "about": one["about"],
            "strikes": len(one["strikes"]),
            "ending": max((strike["ending"] for strike in one["strikes"] if strike["at"] is not None), default=0.0),
            "codes": sorted({strike["code"] for strike in one["strikes"]}),
            "new": sum(strike["state"] == "new" for strike in one["strikes"]),
            "harm": sorted({_kind(text) for strike in [one, *one["strikes"]] for text in strike["harm"]}),
        }
        for name, one in steps.items()
    }


def _kind(harm: str) -> str:
    """Return *harm* without what is different each time."""
    return re.sub(r"(tmp_\w+?)_\w+, [\d,]+ bytes|.git/objects/[0-9a-f]{2}/", r"\1", harm).replace("//", "/")


# --- the page ------------------------------------------------------------------------------------------------


def written(text: str, figures: Figures) -> str:
    """Return the page *text* with the tables of *figures*."""
    return _PART.sub(lambda found: found[1] + _table(found[2], figures) + found[3], text)


def _table(name: str, figures: Figures) -> str:
    try:
        return _TABLES[name](figures)
    except KeyError as missing:
        # A run of some parts leaves the others to be measured.
        return f"Not measured yet: {missing.args[0]}.\n"


def write() -> None:
    """Write the tables and the pictures again."""
    figures = read()
    if PAGE.exists():
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
    draw(figures, IMAGES)


def _sizes(figures: Figures) -> list[Figures]:
    return sorted(figures["decade"].values(), key=lambda one: int(one["sets"]))


def _keys(one: Figures) -> int:
    return sum(year["keys"] for year in one["years"]) + 2 * int(one["sets"])


def _bytes(number: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            value = number / size
            return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{number:.0f} B"


def _seconds(number: float) -> str:
    return f"{number:,.0f} s" if number >= 100 else f"{number:.3g} s" if number >= 0.1 else f"{number * 1e3:.3g} ms"


def _git(figures: Figures) -> str:
    head = (
        "sets",
        "keys",
        "commits",
        "`.git` without gc",
        "packs",
        "loose objects",
        "`.git` after gc",
        "per key",
        "gc",
    )
    rows = [
        (
            f"{one['sets']:,}",
            f"{_keys(one):,}",
            f"{one['grown']['commits']:,}",
            _bytes(one["grown"]["git_bytes"]),
            f"{one['grown']['packs']:,}",
            f"{one['grown']['loose']:,}",
            _bytes(one["packed"]["git_bytes"]),
            _bytes(one["packed"]["git_bytes"] / _keys(one)),
            _seconds(one["gc"]["seconds"]),
        )
        for one in _sizes(figures)
    ]
    measured, widest = {int(one["sets"]) for one in _sizes(figures)}, _sizes(figures)[-1]
    for one in _made(figures):
        last = one["years"][-1]
        if one["sets"] not in measured:
            cells = (_bytes(last["git_bytes"]), f"{last['packs']:,}", f"{last['loose']:,}", "-", "-", "-")
            rows.append((f"{one['sets']:,}", f"{_keys(one):,}", f"{last['commits']:,}", *cells))
    # All of it grows as the sets do, so this is the largest one times as many.
    largest, keys = _made(figures)[-1], _SPOKEN_OF * _keys(widest) // widest["sets"]
    grown = largest["years"][-1]["git_bytes"] / largest["sets"] * _SPOKEN_OF
    packed = widest["packed"]["git_bytes"] / _keys(widest) * keys
    rows.append((f"{_SPOKEN_OF:,}, computed", f"{keys:,}", "522", _bytes(grown), "-", "-", _bytes(packed), "-", "-"))
    return table(head, rows)


def _made(figures: Figures) -> list[Figures]:
    """Return all sizes that were made, those that were not measured in the end too."""
    found = {int(sets): {"sets": int(sets), "years": years} for sets, years in figures.get("made", {}).items()}
    found |= {int(one["sets"]): one for one in _sizes(figures)}
    return [found[sets] for sets in sorted(found)]


def _years(figures: Figures) -> str:
    looked_at = [pack["year"] for pack in _sizes(figures)[-1]["packs"]]
    rows = []
    for one in _made(figures):
        grown = {year["week"] // 52: year["git_bytes"] for year in one["years"]}
        rows.append([f"{one['sets']:,}", "without gc", *(_bytes(grown[year]) for year in looked_at)])
        if "packs" in one:
            rows.append(["", "a fresh clone", *(_bytes(pack["bytes"]) for pack in one["packs"])])
    return table(("sets", "", *(f"{year} y" for year in looked_at)), rows)


def _kinds(figures: Figures) -> str:
    one = _sizes(figures)[-1]
    rows = (
        (f"{name}s", f"{kind['objects']:,}", _bytes(kind["bytes"]), _bytes(kind["disk"]))
        for name, kind in sorted(one["kinds"].items())
    )
    return table((f"{one['sets']} sets", "objects", "bytes", "in the pack"), rows)


def _commands(figures: Figures) -> str:
    rows = []
    for one in _sizes(figures):
        for label, part in (("without gc", one["grown"]), ("after gc", one["packed"])):
            names = [_took(part[name]) for name in ("status", "audit", "rotate")]
            other = [_took(one["clone"]), "-"] if label == "without gc" else ["-", _took(one.get("render"))]
            first = f"{one['sets']:,} sets, {_keys(one):,} keys" if label == "without gc" else ""
            rows.append([first, label, *names, *other])
    return table(("", "", "`status`", "`audit`", "`rotate --due`", "`git clone`", "`render`"), rows)


def _took(one: Figures | None) -> str:
    return "-" if one is None else f"{_seconds(one['seconds'])}, {one['together'] or 0:,.0f} MiB"


def _clones(figures: Figures) -> str:
    rows = []
    for one in _sizes(figures):
        shallow, blobless = one["clones"]["shallow"], one["clones"]["blobless"]
        full = one["packed"]["git_bytes"]
        cells = [full, shallow["git_bytes"], blobless["without"], blobless["git_bytes"]]
        rows.append([f"{one['sets']:,}", *map(_bytes, cells)])
    head = ("sets", "full", "`--depth=1`", "`--filter=blob:none`", "with the blobs of `HEAD`")
    return table(head, rows)


def _wide(figures: Figures) -> str:
    head = (
        "layout",
        "widest folder",
        "commit time",
        "commit size",
        "`ls-tree -r`",
        "`ls-tree` of one set",
        "`diff-tree -r`",
        "after gc",
    )
    rows = (
        (
            f"`{name}`",
            f"{one['widest']:,}",
            _seconds(one["commit"]),
            _bytes(one["commit_bytes"]),
            _seconds(one["ls_tree"]),
            _seconds(one["ls_one"]),
            _seconds(one["diff"]),
            _bytes(one["packed"]),
        )
        for name, one in figures["wide"].items()
    )
    return table(head, rows)


def _long(figures: Figures) -> str:
    head = ("layout", "`.git` without gc", "after gc", "its trees", "last commit", "`ls-tree -r`")
    rows = (
        (
            f"`{name}`",
            _bytes(one["grown"]),
            _bytes(one["packed"]),
            _bytes(one["trees"]["disk"]),
            _seconds(one["last"]),
            _seconds(one["ls_tree"]),
        )
        for name, one in figures["long"].items()
    )
    return table(head, rows)


def _per_set(figures: Figures) -> tuple[float, float, float, float]:
    """Return files and bytes of a site for each set of three keys, and for each key that is withdrawn."""
    young = figures["site"]
    old = [one for one in _sizes(figures) if "site" in one][-1]
    kept = _keys(old) - 3 * old["sets"]
    files, size = young["files"] / young["sets"], young["bytes"] / young["sets"]
    return (
        files,
        size,
        (old["site"]["files"] - files * old["sets"]) / kept,
        (old["site"]["bytes"] - size * old["sets"]) / kept,
    )


def _site(figures: Figures) -> str:
    files, size, more, bigger = _per_set(figures)
    young = figures["site"]
    rows = (
        ("a set of three keys", "measured", f"{files:.1f}", _bytes(size)),
        ("a withdrawn key", "measured", f"{more:.1f}", _bytes(bigger)),
        (f"`history.json` of {young['sets']:,} sets", "measured", "1", _bytes(young["history"])),
        (
            f"JWK Set of an issuer with {young['issuer_keys']} keys",
            "measured",
            "1",
            _bytes(young["issuer_bytes"]),
        ),
        ("JWK Set of a set of three keys", "measured", "1", _bytes(young["set_bytes"])),
        (f"{_SPOKEN_OF:,} sets, new", "computed", f"{files * _SPOKEN_OF:,.0f}", _bytes(size * _SPOKEN_OF)),
        (
            f"{_SPOKEN_OF:,} sets after 10 years of weekly rotation",
            "computed",
            f"{(files + more * 520) * _SPOKEN_OF:,.0f}",
            _bytes((size + bigger * 520) * _SPOKEN_OF),
        ),
    )
    return table(("", "", "files", "bytes"), rows)


def _hosts(figures: Figures) -> str:
    files, size, more, bigger = _per_set(figures)
    young, old = figures["site"], [one for one in _sizes(figures) if "site" in one][-1]
    entry = young["history"] / young["sets"] / 3
    later = old["site"]["history"] / _keys(old)
    rows = []
    for name, limits in HOSTS.items():
        cells = []
        # New; after a year of rotation every 90 days (4 keys withdrawn); after ten years each week.
        for kept in (0, 4, 520):
            needs = files + more * kept, size + bigger * kept, entry * 3 + later * kept
            cells.append(f"{min(limit / need for limit, need in zip(limits, needs, strict=True)):,.0f}")
        rows.append([name, *cells])
    return table(("sets that fit", "new", "4 keys withdrawn of each", "520 keys withdrawn of each"), rows)


def _traffic(figures: Figures) -> str:
    young = figures["site"]
    month = 30 * 24 * 6  # fetches of a verifier that asks every ten minutes
    rows = []
    for label, size in (
        ("a set of three keys", young["set_bytes"]),
        (f"an issuer with {young['issuer_keys']} keys", young["issuer_bytes"]),
    ):
        rows.append((label, _bytes(size), _bytes(size * month), f"{_MONTHLY / (size * month):,.0f}"))
    return table(("JWK Set", "one fetch", "a verifier, in 30 days", "verifiers in 100 GB"), rows)


def _life(figures: Figures) -> str:
    head = (
        "keys",
        "step",
        "seconds",
        "together",
        "progress updates",
        "longest pause",
        "interrupts",
        "after the end",
        "longest exit",
        "harm",
    )
    rows = []
    for keys, steps in sorted(figures["life"].items(), key=lambda item: int(item[0])):
        for name, one in steps.items():
            cells = (
                _seconds(one["seconds"]),
                f"{one['together'] or 0:,.0f} MiB",
                str(one["states"]),
                _seconds(one["still"]),
                str(one["strikes"]),
                str(one["new"]),
                _seconds(one["ending"]),
                "; ".join(one["harm"]) or "none",
            )
            rows.append((f"{int(keys):,}", f"`{name}`", *cells))
    return table(head, rows)


_TABLES = {
    "git": _git,
    "years": _years,
    "kinds": _kinds,
    "commands": _commands,
    "clones": _clones,
    "wide": _wide,
    "long": _long,
    "site": _site,
    "hosts": _hosts,
    "traffic": _traffic,
    "life": _life,
}


# --- pictures ------------------------------------------------------------------------------------------------

#: Okabe and Ito's colours, and another mark each, as in plots.py.
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"))


def draw(figures: Figures, folder: Path) -> None:
    """Write the pictures."""
    import matplotlib as mpl

    mpl.use("svg")
    settings = {"svg.fonttype": "none", "svg.hashsalt": "keyvault", "font.family": "sans-serif", "font.size": 10}
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(settings):
        _plot(folder / "scale-git.svg", "Bytes of .git, weekly rotation", "years", "MB", list(_bytes_lines(figures)))
        _plot(folder / "scale-commands.svg", "Seconds after ten years, after gc", "keys", "seconds", _lines(figures))


Line = tuple[str, Sequence[tuple[float, float]], bool]


def _bytes_lines(figures: Figures) -> Iterator[Line]:
    for one in reversed(_made(figures)):
        grown = [(year["week"] / 52, year["git_bytes"] / 1e6) for year in one["years"] if year["week"]]
        yield f"{one['sets']} sets", grown, False
        if "packs" in one:
            yield "", [(pack["year"], pack["bytes"] / 1e6) for pack in one["packs"]], True


def _lines(figures: Figures) -> list[Line]:
    sizes = _sizes(figures)
    names = ("status", "audit", "rotate")
    lines: list[Line] = [(n, [(_keys(one), one["packed"][n]["seconds"]) for one in sizes], False) for n in names]
    # A clone is made before gc.
    lines.append(("git clone, no gc", [(_keys(one), one["clone"]["seconds"]) for one in sizes], False))
    lines.append(("render", [(_keys(one), one["render"]["seconds"]) for one in sizes if "render" in one], False))
    return lines


def _plot(file: Path, title: str, across: str, up: str, lines: Sequence[Line]) -> None:
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2))
    number = -1
    for label, points, dashed in lines:
        number += not dashed
        colour, mark = _STYLES[number % len(_STYLES)]
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, color=colour, marker=mark, linestyle="--" if dashed else "-", label=label or None)
    axes.set(xscale="log", yscale="log", xlabel=across, ylabel=up, title=title)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if across == "years" and axis is axes.xaxis else (1.0,)))
        axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.10g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)
