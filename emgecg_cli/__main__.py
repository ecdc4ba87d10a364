"""`medreport`, and `python -m emgecg_cli`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Import the commands and run what was typed; a Ctrl-C that comes before they are there is one line as well."""
    try:
        from emgecg_cli.commands.app import main as run
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr, flush=True)
        os._exit(130)
    run()


if __name__ == "__main__":
    main()
