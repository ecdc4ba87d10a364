"""`generate`: a run and a store in, predictions out. Batched, append-only, resumable, by one writer or several.

The chunks and their order are fixed by the records alone, and a chunk that was not written whole is made again whole,
so a killed run ends with the bytes of an unbroken one, and several writers with those of one.
"""

from __future__ import annotations

import gc

# Modules stay: looking for garbage among those of torch and transformers takes a sixth of the time of their import.
# Frozen and thawed, what they hold counts as old at once, and is not looked through while it grows old.
_collecting = gc.isenabled()
gc.disable()
try:
    from emgecg_cli.core.generation.processes import write_parts
    from emgecg_cli.core.generation.run import GenerateResult, generate_reports
    from emgecg_cli.core.generation.shown import SIGNALS
    from emgecg_cli.core.generation.task import Places
finally:
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()
    if _collecting:
        gc.enable()

__all__ = ["SIGNALS", "GenerateResult", "Places", "generate_reports", "write_parts"]
