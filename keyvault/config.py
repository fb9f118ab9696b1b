"""
Read keyvault.toml as a policy, and edit it without losing comments.

Works on bytes; does not read files or commits. Source: docs/format.md.
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
    Return the policy in *data*, the bytes of keyvault.toml.

    Raises:
        ConfigError: If *data* is not TOML in UTF-8, or not a valid policy.
    """
    if len(data) > CONFIG_MAX:
        raise ConfigError(f"{FILE} has {len(data)} bytes; the limit is {CONFIG_MAX}", code="policy-too-large")
    try:
        document = tomllib.loads(data.removeprefix(codecs.BOM_UTF8).decode())
    except UnicodeDecodeError:
        raise ConfigError(f"{FILE} is not UTF-8", code="policy-not-utf8") from None
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{FILE} is not TOML: {elided(str(error))[:200].lower()}", code="policy-not-toml") from None
    return parse_policy(document)


def edit_sets(data: bytes, changes: Mapping[str, Mapping[str, Any] | None]) -> bytes:
    """
    Return keyvault.toml with changed tables in ``[sets]``; comments and order are kept.

    Args:
        data: The file.
        changes: The members to set in each table; a missing table is added. None removes a member or a table.

    Raises:
        ConfigError: If the result would not be a valid policy.
    """
    import tomlkit
    from tomlkit.items import InlineTable

    read_policy(data)
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    # Editors on Windows end every line with CRLF, and tomlkit would end new lines with LF.
    ends = "\r\n" if data.count(b"\r\n") == data.count(b"\n") > 0 else "\n"
    document = tomlkit.parse(data.removeprefix(mark).decode().replace(ends, "\n"))
    if "sets" not in document:
        document["sets"] = tomlkit.table(is_super_table=True)
    sets = document["sets"]
    if isinstance(sets, InlineTable):
        raise ConfigError(
            f"cannot edit {FILE}: sets is an inline table", code="policy-inline-sets", hint="write [sets.NAME] tables"
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
