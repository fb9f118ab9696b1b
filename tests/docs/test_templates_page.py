"""docs/templates.md names every template, and every member that templates can use."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from keyvault.operations.site import default_templates
from keyvault.site import views
from tests.docs.pages import read
from tests.site.vaults import Lab

PAGE = "docs/templates.md"
VALUES = {
    "change": views.ChangeView,
    "issuer": views.IssuerView,
    "set": views.SetView,
    "key": views.KeyView,
    "key page": views.KeyPageView,
    "event": views.EventView,
}


@pytest.mark.parametrize("name", VALUES)
def test_members_of_a_value(name: str) -> None:
    """The paragraph of a value lists all its members in order."""
    [text] = re.findall(rf"^An? \*\*{name}\*\* has (.*?)\n\n", read(PAGE) + "\n\n", re.MULTILINE | re.DOTALL)

    assert re.findall(r"`(\w+)`", text) == [field.name for field in fields(VALUES[name])]


def test_every_template_has_a_row() -> None:
    """A user finds the file to override."""
    rows = set(re.findall(r"`([\w/.]+\.(?:html|css|js|svg))`", read(PAGE)))

    assert set(default_templates()) <= rows


def test_names_that_a_page_is_given(vault: Lab) -> None:
    """The tables list exactly the names that each page can use."""
    from keyvault.site.pages import Pages

    given: dict[str, set[str]] = {}

    def renderer(template: str, context: dict[str, Any]) -> bytes:
        given.setdefault(template.removesuffix(".html"), set()).update(context)
        return b""

    pages = Pages(vault.state, {}, renderer)  # type: ignore[arg-type]  # a renderer that only listens
    list(pages)
    for name in pages.sets:
        list(pages.of_set(name))
    every, single = read(PAGE).split("## Values on every page")[1].split("## Values on single pages")
    common = {name for row in re.findall(r"^\| (`.*?) \|", every, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    listed: dict[str, set[str]] = {name: common - {"assets"} for name in ("issuer", "front", "set", "key", "404")}
    for pages, names in re.findall(r"^\| ([a-z, ]+) \| (`.*?) \|", single, re.MULTILINE):
        for page in pages.split(", "):
            listed[page] = listed[page] | set(re.findall(r"`(\w+)`", names))

    for page, names in given.items():
        assert names == listed[page], page
