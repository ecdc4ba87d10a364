"""A store: recordings of one dataset as int16 microvolt shards, a table of records, and the list of what was left out.

`prepare_store` makes one from a source, `open_store` reads one, `write_store` is the resumable writer under both
`prepare` and `perturb`.
"""

from emgecg_cli.core.store.prepare import PrepareResult, flag_counts, prepare_store, references_of
from emgecg_cli.core.store.reader import Store, no_signals, open_store
from emgecg_cli.core.store.rows import described, measured
from emgecg_cli.core.store.shards import Shard, make_shard, shard_file
from emgecg_cli.core.store.splits import parse_split, split_hash, subject_hashes
from emgecg_cli.core.store.table import TABLE
from emgecg_cli.core.store.writer import QUARANTINE, Engine, WriteResult, Written, write_store

__all__ = [
    "QUARANTINE", "TABLE",
    "Engine", "PrepareResult", "Shard", "Store", "WriteResult", "Written", "described", "flag_counts", "make_shard",
    "measured", "no_signals", "open_store", "parse_split", "prepare_store", "references_of", "shard_file", "split_hash",
    "subject_hashes", "write_store",
]
