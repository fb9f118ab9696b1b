"""Sites of several kinds of vaults, rendered once for all tests, which only read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.operations import keys
from tests.site.vaults import EC_SETS, SITE, Lab, new_lab


@dataclass(frozen=True)
class RenderedSite:
    """
    A site and the vault that it shows.

    Attributes:
        lab: The vault.
        files: The site, by path.
        url: The URL that it would be published at.
    """

    lab: Lab
    files: dict[str, bytes]
    url: str

    @property
    def base(self) -> str:
        """The path of the site on its host, without a final slash."""
        return urlsplit(self.url).path

    @property
    def pages(self) -> dict[str, bytes]:
        """Every HTML page, by path."""
        return {path: data for path, data in self.files.items() if path.endswith(".html")}

    def file(self, url: str) -> str | None:
        """Return the path of the file that a host serves at *url*, or None if the site has no such file."""
        url = url.partition("#")[0]
        if not url.startswith(f"{self.url}/"):
            return None
        path = url[len(self.url) + 1 :]
        path += "index.html" if not path or path.endswith("/") else ""
        return path if path in self.files else None


def _fresh(folder: Path) -> Lab:
    """A new vault."""
    return new_lab(folder, *EC_SETS)


def _empty(folder: Path) -> Lab:
    """A vault without a set."""
    return new_lab(folder)


def _many_issuers(folder: Path) -> Lab:
    """A vault in which no set has the default issuer; one issuer has keys for encryption only."""
    lab = new_lab(folder)
    for name, place, alg in (
        ("north", "north", "ES256"),
        ("south", "south", "ES384"),
        ("letters", "south", "ECDH-ES+A256KW"),
        ("mail", "post", "ECDH-ES"),
    ):
        keys.add_set(lab.context(), name, spec=key_spec(alg), issuer=f"{SITE}/tenants/{place}")
    return lab


def _keyless(folder: Path) -> Lab:
    """A vault with a set that was added to keyvault.toml by hand and has no key yet."""
    lab = new_lab(folder)
    lab.append_policy('\n[sets.later]\nalg = "ES256"\n')
    return lab


def _below_a_path(folder: Path) -> Lab:
    """A vault whose site is in a folder of a host, like project pages."""
    return new_lab(folder, *EC_SETS, url="https://example.github.io/keys")


_MAKERS: dict[str, Callable[[Path], Lab]] = {
    "fresh": _fresh,
    "empty": _empty,
    "keyless": _keyless,
    "many-issuers": _many_issuers,
    "below-a-path": _below_a_path,
}
#: The arguments of `rendered`.
KINDS = ("demo", *_MAKERS)

Rendered = Callable[[str], RenderedSite]


@pytest.fixture(scope="session")
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Return a function that returns the site of a kind of vault: of the demo, or of a vault built for the purpose."""
    made: dict[str, RenderedSite] = {}

    def get(kind: str) -> RenderedSite:
        if kind not in made:
            if kind == "demo":
                lab = request.getfixturevalue("demo").lab
            else:
                lab = _MAKERS[kind](tmp_path_factory.mktemp(kind) / "vault")
            made[kind] = RenderedSite(lab, lab.site(), lab.state.policy.site.url)
        return made[kind]

    return get


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, rendered: Rendered) -> RenderedSite:
    """The site of each kind of vault."""
    return rendered(request.param)
