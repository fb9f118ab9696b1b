"""Whatever goes wrong between three clones, a remote, a host and a signer: tokens verify, and there is a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repo.chaos import Chaos


def test_a_short_night(tmp_path: Path) -> None:
    """Forty steps of all kinds."""
    chaos = Chaos(1, tmp_path)
    chaos.run(40)
    assert chaos.went["done"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_long_nights(tmp_path: Path, seed: int) -> None:
    """A hundred steps for each of twenty seeds: 2,000 in all."""
    chaos = Chaos(seed, tmp_path)
    chaos.run(100)
    print(seed, dict(chaos.went))
