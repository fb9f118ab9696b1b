"""
Write the tables and pictures of docs/scale.md from the figures of large vaults in bench/scale.json.

The page is written by hand, except the tables between ``<!-- name -->`` and ``<!-- end -->``, which are generated from
the figures. A test compares the page with them.
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

#: Limits of hosts: files of a site, its bytes, bytes of a file. docs/scale.md names the sources.
HOSTS: Mapping[str, tuple[float, float, float]] = {
    "GitHub Pages": (math.inf, 1e9, math.inf),
    "GitLab.com Pages": (200_000, 1e9, math.inf),
    "Cloudflare Pages, free": (20_000, math.inf, 25 * 2**20),
    "Cloudflare Pages, paid": (100_000, math.inf, 25 * 2**20),
}
#: The number of sets of computed rows, and GitHub Pages' soft limit of monthly traffic in bytes.
_COMPUTED_SETS, _MONTHLY = 10_000, 100e9

Figures = dict[str, Any]


def read() -> Figures:
    """Return all figures."""
    found: Figures = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def record(part: str, found: Mapping[str, Any]) -> None:
    """Add the figures in *found* to the file, and keep the others."""
    figures = read()
    figures.setdefault(part, {}).update(found)
    FILE.write_text(json.dumps(figures, indent=1) + "\n")


def interrupt_figures(steps: Mapping[str, Figures]) -> Figures:
    """Return the figures to store of a run of interrupts.py, without the output of the terminal."""
    return {
        name: {
            **step["whole"],
            "about": step["about"],
            "strikes": len(step["strikes"]),
            "ending": max((strike["ending"] for strike in step["strikes"] if strike["at"] is not None), default=0.0),
            "codes": sorted({strike["code"] for strike in step["strikes"]}),
            "new": sum(strike["state"] == "new" for strike in step["strikes"]),
            "harm": sorted({_kind(text) for strike in [step, *step["strikes"]] for text in strike["harm"]}),
        }
        for name, step in steps.items()
    }


def _kind(harm: str) -> str:
    """Return *harm* without its random parts."""
    return re.sub(r"(tmp_\w+?)_\w+, [\d,]+ bytes|.git/objects/[0-9a-f]{2}/", r"\1", harm).replace("//", "/")


# --- the page ------------------------------------------------------------------------------------------------


def written(text: str, figures: Figures) -> str:
    """Return the page *text* with the tables generated from *figures*."""
    return _PART.sub(lambda found: found[1] + _table(found[2], figures) + found[3], text)


def _table(name: str, figures: Figures) -> str:
    try:
        return _TABLES[name](figures)
    except KeyError as missing:
        # A run of some parts leaves no figures of the others.
        return f"Not measured yet: {missing.args[0]}.\n"


def write() -> None:
    """Write the tables and the pictures."""
    figures = read()
    if PAGE.exists():
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
    draw(figures, IMAGES)


def _sizes(figures: Figures) -> list[Figures]:
    return sorted(figures["decade"].values(), key=lambda size: int(size["sets"]))


def _keys(size: Figures) -> int:
    return sum(year["keys"] for year in size["years"]) + 2 * int(size["sets"])


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
            f"{size['sets']:,}",
            f"{_keys(size):,}",
            f"{size['grown']['commits']:,}",
            _bytes(size["grown"]["git_bytes"]),
            f"{size['grown']['packs']:,}",
            f"{size['grown']['loose']:,}",
            _bytes(size["packed"]["git_bytes"]),
            _bytes(size["packed"]["git_bytes"] / _keys(size)),
            _seconds(size["gc"]["seconds"]),
        )
        for size in _sizes(figures)
    ]
    measured, widest = {int(size["sets"]) for size in _sizes(figures)}, _sizes(figures)[-1]
    for size in _generated(figures):
        last = size["years"][-1]
        if size["sets"] not in measured:
            cells = (_bytes(last["git_bytes"]), f"{last['packs']:,}", f"{last['loose']:,}", "-", "-", "-")
            rows.append((f"{size['sets']:,}", f"{_keys(size):,}", f"{last['commits']:,}", *cells))
    # Everything grows in proportion to the sets, so scale the largest size.
    largest, keys = _generated(figures)[-1], _COMPUTED_SETS * _keys(widest) // widest["sets"]
    grown = largest["years"][-1]["git_bytes"] / largest["sets"] * _COMPUTED_SETS
    packed = widest["packed"]["git_bytes"] / _keys(widest) * keys
    rows.append(
        (f"{_COMPUTED_SETS:,}, computed", f"{keys:,}", "522", _bytes(grown), "-", "-", _bytes(packed), "-", "-")
    )
    return table(head, rows)


def _generated(figures: Figures) -> list[Figures]:
    """Return all sizes that were generated, including those that were not measured."""
    found = {int(sets): {"sets": int(sets), "years": years} for sets, years in figures.get("made", {}).items()}
    found |= {int(size["sets"]): size for size in _sizes(figures)}
    return [found[sets] for sets in sorted(found)]


def _years(figures: Figures) -> str:
    pack_years = [pack["year"] for pack in _sizes(figures)[-1]["packs"]]
    rows = []
    for size in _generated(figures):
        grown = {year["week"] // 52: year["git_bytes"] for year in size["years"]}
        rows.append([f"{size['sets']:,}", "without gc", *(_bytes(grown[year]) for year in pack_years)])
        if "packs" in size:
            rows.append(["", "a fresh clone", *(_bytes(pack["bytes"]) for pack in size["packs"])])
    return table(("sets", "", *(f"{year} y" for year in pack_years)), rows)


def _kinds(figures: Figures) -> str:
    size = _sizes(figures)[-1]
    rows = (
        (f"{name}s", f"{kind['objects']:,}", _bytes(kind["bytes"]), _bytes(kind["disk"]))
        for name, kind in sorted(size["kinds"].items())
    )
    return table((f"{size['sets']} sets", "objects", "bytes", "in the pack"), rows)


def _commands(figures: Figures) -> str:
    rows = []
    for size in _sizes(figures):
        for label, part in (("without gc", size["grown"]), ("after gc", size["packed"])):
            names = [_took(part[name]) for name in ("status", "audit", "rotate")]
            other = [_took(size["clone"]), "-"] if label == "without gc" else ["-", _took(size.get("render"))]
            first = f"{size['sets']:,} sets, {_keys(size):,} keys" if label == "without gc" else ""
            rows.append([first, label, *names, *other])
    return table(("", "", "`status`", "`audit`", "`rotate --due`", "`git clone`", "`render`"), rows)


def _took(sample: Figures | None) -> str:
    return "-" if sample is None else f"{_seconds(sample['seconds'])}, {sample['together'] or 0:,.0f} MiB"


def _clones(figures: Figures) -> str:
    rows = []
    for size in _sizes(figures):
        shallow, blobless = size["clones"]["shallow"], size["clones"]["blobless"]
        full = size["packed"]["git_bytes"]
        cells = [full, shallow["git_bytes"], blobless["without"], blobless["git_bytes"]]
        rows.append([f"{size['sets']:,}", *map(_bytes, cells)])
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
            f"{layout['widest']:,}",
            _seconds(layout["commit"]),
            _bytes(layout["commit_bytes"]),
            _seconds(layout["ls_tree"]),
            _seconds(layout["ls_one"]),
            _seconds(layout["diff"]),
            _bytes(layout["packed"]),
        )
        for name, layout in figures["wide"].items()
    )
    return table(head, rows)


def _long(figures: Figures) -> str:
    head = ("layout", "`.git` without gc", "after gc", "its trees", "last commit", "`ls-tree -r`")
    rows = (
        (
            f"`{name}`",
            _bytes(layout["grown"]),
            _bytes(layout["packed"]),
            _bytes(layout["trees"]["disk"]),
            _seconds(layout["last"]),
            _seconds(layout["ls_tree"]),
        )
        for name, layout in figures["long"].items()
    )
    return table(head, rows)


def _per_set(figures: Figures) -> tuple[float, float, float, float]:
    """Return files and bytes of a site for each set of three keys, and for each withdrawn key."""
    young = figures["site"]
    old = [size for size in _sizes(figures) if "site" in size][-1]
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
        (f"{_COMPUTED_SETS:,} sets, new", "computed", f"{files * _COMPUTED_SETS:,.0f}", _bytes(size * _COMPUTED_SETS)),
        (
            f"{_COMPUTED_SETS:,} sets after 10 years of weekly rotation",
            "computed",
            f"{(files + more * 520) * _COMPUTED_SETS:,.0f}",
            _bytes((size + bigger * 520) * _COMPUTED_SETS),
        ),
    )
    return table(("", "", "files", "bytes"), rows)


def _hosts(figures: Figures) -> str:
    files, size, more, bigger = _per_set(figures)
    young, old = figures["site"], [size for size in _sizes(figures) if "site" in size][-1]
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
    month = 30 * 24 * 6  # fetches of a verifier that fetches every ten minutes
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
        for name, step in steps.items():
            cells = (
                _seconds(step["seconds"]),
                f"{step['together'] or 0:,.0f} MiB",
                str(step["states"]),
                _seconds(step["still"]),
                str(step["strikes"]),
                str(step["new"]),
                _seconds(step["ending"]),
                "; ".join(step["harm"]) or "none",
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

#: Okabe and Ito's colours, and a marker each, as in plots.py.
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
    for size in reversed(_generated(figures)):
        grown = [(year["week"] / 52, year["git_bytes"] / 1e6) for year in size["years"] if year["week"]]
        yield f"{size['sets']} sets", grown, False
        if "packs" in size:
            yield "", [(pack["year"], pack["bytes"] / 1e6) for pack in size["packs"]], True


def _lines(figures: Figures) -> list[Line]:
    sizes = _sizes(figures)
    names = ("status", "audit", "rotate")
    lines: list[Line] = [(n, [(_keys(size), size["packed"][n]["seconds"]) for size in sizes], False) for n in names]
    # The vault is cloned before gc.
    lines.append(("git clone, no gc", [(_keys(size), size["clone"]["seconds"]) for size in sizes], False))
    lines.append(("render", [(_keys(size), size["render"]["seconds"]) for size in sizes if "render" in size], False))
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
