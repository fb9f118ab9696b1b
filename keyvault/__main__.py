"""``python -m keyvault``."""

from keyvault.cli.main import main

main()
