"""The documentation's example files are valid, and name every member, algorithm and event."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from keyvault import config
from keyvault.core.algorithms import ALGORITHMS
from keyvault.core.events import TRANSITIONS, Event
from keyvault.core.jwk import pretty
from keyvault.core.policy_members import schema
from keyvault.repo.records import decode_key
from tests.docs.pages import REPOSITORY, fenced, first_column, read, sections

RECIPES = fenced(read("docs/recipes.md"), "toml")
FORMAT = fenced(read("docs/format.md"), "toml")


@pytest.mark.parametrize("text", [*RECIPES, *FORMAT])
def test_a_keyvault_toml_of_the_docs_is_a_policy(text: str) -> None:
    """The same code reads it that reads a vault's policy."""
    policy = config.read_policy(text.encode())

    assert policy.site.url == "https://keys.example.com"


def test_the_full_keyvault_toml_has_every_member() -> None:
    """Each member of the schema occurs, in its table or, for a set, in the defaults."""
    text = RECIPES[0]
    document = tomllib.loads(text)
    tables: dict[str, Any] = schema()["properties"]
    in_sets = {name for table in document["sets"].values() for name in table}

    assert set(document["site"]) == set(tables["site"]["properties"])
    assert set(document["defaults"]) == set(tables["defaults"]["properties"])
    assert set(document["audit"]) == set(tables["audit"]["properties"])
    assert in_sets | set(document["defaults"]) == set(tables["sets"]["additionalProperties"]["properties"])


def test_the_full_keyvault_toml_shows_the_defaults() -> None:
    """The values in [site] and [defaults] are the defaults of the program."""
    text, [least] = RECIPES[0], FORMAT
    full, bare = config.read_policy(text.encode()), config.read_policy(least.encode())

    for member in ("title", "max_age", "confirm", "discovery"):
        assert getattr(full.site, member) == getattr(bare.site, member)
    assert full.audit == bare.audit
    # Without algorithm_lead, publication_lead applies.
    lead = bare.sets["id-token"].publication_lead
    assert full.sets["id-token"] == replace(bare.sets["id-token"], algorithm_lead=lead)


def test_the_schema_is_what_the_code_gives() -> None:
    """docs/keyvault.schema.json is generated; regenerate it if this fails."""
    assert (REPOSITORY / "docs" / "keyvault.schema.json").read_bytes() == pretty(schema())


def test_the_record_of_the_docs_is_a_record() -> None:
    """The record is canonical, and its kid is its thumbprint."""
    [text] = fenced(read("docs/format.md"), "json")

    key = decode_key(text.encode(), path="keys.enc/id-token/6y-VdGGz5lSkvAdYfGAYLBFnEqnRjq7BaoJ9pPTx4Zo.json")

    assert key.public.thumbprint == key.kid


def test_every_algorithm_is_named() -> None:
    """docs/format.md lists the algorithms of sets."""
    text = read("docs/format.md")
    written = text.replace("`+A", "`ECDH-ES+A")

    assert [name for name in ALGORITHMS if name not in written.replace("`", " ").replace(",", " ").split()] == []


def test_every_event_is_explained() -> None:
    """docs/lifecycle.md has a row for each event, with its members."""
    section = sections(read("docs/lifecycle.md"))["Events and states"]

    assert [cell.strip("`") for cell in first_column(section)] == list(TRANSITIONS)
    for member in set(Event.__struct_fields__) - {"at", "event"}:
        assert f"`{member}`" in section
