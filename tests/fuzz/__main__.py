"""Run one target under atheris: ``python -m tests.fuzz TARGET -runs=N FOLDER…``, with libFuzzer's own options."""

from __future__ import annotations

import random
import sys

import atheris

from tests.fuzz import load


def main() -> None:
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["keyvault", "tomllib", "tomlkit", "json"]):
        check, mutate = load(name)
        from keyvault.core import strength
    # A thousand steps of arithmetic for each modulus would take most of the time.
    strength.FERMAT_STEPS = 10

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        # Mutations that know the format pass its first checks; random ones reach places that nobody thought of.
        if seed % 3 == 0:
            return bytes(atheris.Mutate(data, max_size))
        return mutate(data, random.Random(seed))[:max_size]  # noqa: S311 - the same inputs in every run

    atheris.Setup(sys.argv, check, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
