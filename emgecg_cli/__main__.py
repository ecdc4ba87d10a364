"""`python -m emgecg_cli` is `medreport`."""

from __future__ import annotations

from emgecg_cli.commands.app import main

if __name__ == "__main__":
    main()
