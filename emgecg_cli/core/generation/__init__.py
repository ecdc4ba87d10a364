"""`generate`: a run and a store in, predictions out. Batched, append-only, resumable, by one writer or several.

The chunks and their order are fixed by the records alone, and a chunk that was not written whole is made again whole,
so a killed run ends with the bytes of an unbroken one, and several writers with those of one.
"""

from __future__ import annotations

from emgecg_cli.core.generation.processes import write_parts
from emgecg_cli.core.generation.run import GenerateResult, generate_reports
from emgecg_cli.core.generation.shown import SIGNALS
from emgecg_cli.core.generation.task import Places

__all__ = ["SIGNALS", "GenerateResult", "Places", "generate_reports", "write_parts"]
