"""
keyvault.toml: read, checked against the policy's rules, and edited with its comments kept.

Works on bytes; files and commits are read elsewhere. Source: docs/format.md.
"""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Mapping
from typing import Any

from keyvault.core.policy import Policy
from keyvault.core.policy_file import parse_policy
from keyvault.core.text import elided
from keyvault.errors import ConfigError

FILE = "keyvault.toml"
CONFIG_MAX = 4 * 1024 * 1024


def read_policy(data: bytes) -> Policy:
    """
    Return the policy that the bytes of keyvault.toml state.

    Raises:
        ConfigError: It is not TOML in UTF-8, or not a policy.
    """
    if len(data) > CONFIG_MAX:
        raise ConfigError(f"{FILE} of {len(data)} bytes is too large: at most {CONFIG_MAX}")
    try:
        document = tomllib.loads(data.removeprefix(codecs.BOM_UTF8).decode())
    except UnicodeDecodeError:
        raise ConfigError(f"{FILE} is not UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{FILE} is not TOML: {elided(str(error))[:200].lower()}") from None
    return parse_policy(document)


def edit_sets(data: bytes, changes: Mapping[str, Mapping[str, Any] | None]) -> bytes:
    """
    Return keyvault.toml with tables of ``[sets]`` changed, its comments and order kept.

    Args:
        data: The file.
        changes: Members to set in each named table, which is made where it is missing; a member that is
            None is removed, and a table that is None is removed.

    Raises:
        ConfigError: The result would not be a policy.
    """
    import tomlkit
    from tomlkit.items import InlineTable

    read_policy(data)
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    # An editor of Windows ends every line so, and tomlkit would end new ones otherwise.
    ends = "\r\n" if data.count(b"\r\n") == data.count(b"\n") > 0 else "\n"
    document = tomlkit.parse(data.removeprefix(mark).decode().replace(ends, "\n"))
    if "sets" not in document:
        document["sets"] = tomlkit.table(is_super_table=True)
    sets = document["sets"]
    if isinstance(sets, InlineTable):
        raise ConfigError(
            f"sets in {FILE} stand in one line, which is not edited here", hint="write them as [sets.NAME]"
        )
    tables: Any = sets
    for name, members in changes.items():
        if members is None:
            tables.pop(name, None)
            continue
        if name not in tables:
            tables[name] = tomlkit.table()
        for member, value in members.items():
            if value is None:
                tables[name].pop(member, None)
            else:
                tables[name][member] = value
    edited = mark + tomlkit.dumps(document).replace("\n", ends).encode()
    read_policy(edited)
    return edited
