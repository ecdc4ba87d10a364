"""One of several processes of a CoCa pretraining; started by tests with the store, the folder to write and settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from emgecg_cli.core.recipes import resolve_pretrain_config
from emgecg_cli.core.training.pretrain import pretrain

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    pretrain(Path(asked["store"]), Path(asked["out"]), resolve_pretrain_config(**asked["settings"]))
