"""What the tests of sources share: everything a source lists and reads."""

from __future__ import annotations

import pickle

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source
from emgecg_cli.core.store.index import Index


def listed(source: Source) -> tuple[list[RecordRef], list[QuarantineRow]]:
    """The references of a source and what its listing refuses, as a store sees them."""
    index = Index(source.listing())
    if index.n_records:
        index.assign_splits(None, 0)
    return index.refs(0, index.n_records), list(index.set_aside())


def read_all(source: Source) -> tuple[list[Recording], list[QuarantineRow]]:
    """All recordings, and all that was set aside, in the listing first; read as another process would."""
    refs, refused = listed(source)
    found = list(pickle.loads(pickle.dumps(source.read))(refs))
    assert len(found) == len(refs)
    return ([item for item in found if isinstance(item, Recording)],
            [*refused, *(item for item in found if isinstance(item, QuarantineRow))])


def reasons(rows: list[QuarantineRow]) -> dict[str, str]:
    """Record to reason."""
    return {row.record_id: row.reason for row in rows}
