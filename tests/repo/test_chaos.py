"""Tokens verify and a repair works, whatever goes wrong between three clones, a remote, a host and a signer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repo.chaos import Chaos


def test_a_short_run(tmp_path: Path) -> None:
    """40 random steps for one seed."""
    chaos = Chaos(1, tmp_path)
    chaos.run(40)
    assert chaos.went["done"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_long_runs(tmp_path: Path, seed: int) -> None:
    """100 random steps for each of 20 seeds."""
    chaos = Chaos(seed, tmp_path)
    chaos.run(100)
    print(seed, dict(chaos.went))
