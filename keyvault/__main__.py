"""``python -m keyvault``, and what the installed command runs."""

import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C while modules are loaded is answered like any other."""
    try:
        from keyvault.cli.main import main as run

        run()
    except BaseException as error:
        # Python 3.11 wraps what is raised while a class is made.
        if not isinstance(error, KeyboardInterrupt) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.stderr.write("keyvault: error: interrupted\n")
        os._exit(130)  # nothing was begun; the usual way out would load modules, too


if __name__ == "__main__":
    main()
