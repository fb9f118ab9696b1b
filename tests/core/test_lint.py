"""Rules of lint: each speaks where a document breaks verifiers, and no other does; a good document gets none."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.lint.documents import Source, lint_discovery, lint_jwk_set
from tests.core.lint_cases import URL, Case, cases

CASES = {name: None for name, _ in cases()}


@functools.cache
def case(name: str) -> Case:
    return dict(cases())[name]


def test_dump() -> None:
    for name, one in cases():
        found = lint_jwk_set(Source("x", one.body, URL, one.response))
        codes = {f.code for f in found}
        if codes != one.codes:
            print(name, "MORE", codes - one.codes, "LESS", one.codes - codes)
