"""A store: recordings of one dataset as int16 microvolt shards, a table of records, and the list of what was left out.

`prepare_store` makes one from a source, `open_store` reads one, `write_store` is the resumable writer under both
`prepare` and `perturb`.
"""

from emgecg_cli.core.store.fitted import fitted_references
from emgecg_cli.core.store.payloads import KINDS, Kind, kind_of
from emgecg_cli.core.store.payloads.cutting import described, measured
from emgecg_cli.core.store.payloads.signal_files import shard_file
from emgecg_cli.core.store.prepare import PrepareResult, flag_counts, prepare_store
from emgecg_cli.core.store.reader import Store, open_store
from emgecg_cli.core.store.shards import Shard, make_shard
from emgecg_cli.core.store.splits import parse_split, split_hash, subject_hashes
from emgecg_cli.core.store.table import TABLE
from emgecg_cli.core.store.writer import QUARANTINE, Engine, WriteResult, Written, write_store

__all__ = [
    "KINDS", "QUARANTINE", "TABLE",
    "Engine", "Kind", "PrepareResult", "Shard", "Store", "WriteResult", "Written", "described", "fitted_references",
    "flag_counts", "kind_of", "make_shard", "measured", "open_store", "parse_split", "prepare_store", "shard_file",
    "split_hash", "subject_hashes", "write_store",
]
