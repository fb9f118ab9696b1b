"""Expecting an error by its code, so that its words can change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from keyvault.errors import KeyVaultError


@contextmanager
def fails(code: str, kind: type[KeyVaultError] = KeyVaultError) -> Iterator[pytest.ExceptionInfo[KeyVaultError]]:
    """
    Expect an error with this code.

    Args:
        code: As docs/errors.md lists it.
        kind: The class of the error, where it matters.
    """
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.code == code, f"{caught.value.code}: {caught.value.message}"
