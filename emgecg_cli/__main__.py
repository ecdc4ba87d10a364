"""`python -m emgecg_cli` is `medreport`; also the target of `accelerate launch -m emgecg_cli train …`."""

from __future__ import annotations

from emgecg_cli.commands.app import main

if __name__ == "__main__":
    main()
