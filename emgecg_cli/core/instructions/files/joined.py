"""Which record of a store an entry of a file speaks of: by the path of its signal, of its picture, or its id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from emgecg_cli.core.instructions.files.entries import Entry
from emgecg_cli.core.store import Store

_WINDOW = re.compile(r"-\d+$")  # GEM's pictures are named by the recording and the ten seconds that they show
_RATE = re.compile(r"_(?:hr|lr)$")  # PTB-XL has every recording at two rates
# How the folders of GEM's and ECGBench's files call a data set
_CALLED = {"ptb-xl": ("ptb",), "mimic-iv-ecg": ("mimic",), "code15": ("code15", "cod15"), "cpsc2018": ("cpsc",),
           "chapman-ningbo": ("champan", "chapman", "ningbo", "csn"), "georgia": ("georgia", "g12")}
_SUFFIX = re.compile(r"\.(?:png|jpe?g|hea|dat|mat|hdf5|npy)$", re.I)


@dataclass
class Join:
    """The records of a store by their ids, their recordings' ids, their paths, and the last parts of these. A name that
    several records have is none of theirs."""

    store: Store
    _at: dict[str, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = [self.store.column(name).to_list() for name in ("record_id", "recording_id", "source")]
        for at, (record_id, recording_id, source) in enumerate(zip(*columns, strict=True)):
            path = _SUFFIX.sub("", source or "")
            names = {record_id, recording_id, path, _stem(path), _RATE.sub("", _stem(path))} - {"", None}
            for name in names:
                self._at[name] = at if name not in self._at else None
        for at, record_id in enumerate(columns[0]):
            self._at[record_id] = at

    def of(self, entry: Entry) -> int | None:
        """The row of the record; None where the store holds none, or several that it may be, and where the paths are
        those of another data set."""
        said = f"{entry.path('ecg')} {entry.path('image')} {entry.id}".lower()
        sets = [name for name, words in _CALLED.items() if any(word in said for word in words)]
        if sets and self.store.dataset in _CALLED and self.store.dataset not in sets:
            return None
        return next((at for name in _names(entry) if (at := self._at.get(name)) is not None), None)


def _names(entry: Entry) -> Iterator[str]:
    """What the record may be called, the surest first."""
    for path in (entry.path("ecg"), entry.path("image")):
        if path:
            bare = _SUFFIX.sub("", path)
            yield bare
            yield from _short(_stem(bare))
            yield from _short(_WINDOW.sub("", _stem(bare)))
    yield entry.id
    if not entry.path("ecg"):
        for part in reversed(entry.id.split("-")):  # "ptb-report-07190_hr-0"
            if _RATE.search(part):
                yield from _short(part)


def _short(stem: str) -> Iterator[str]:
    """The name of a file, and the number of a recording of PTB-XL that it is of."""
    yield stem
    if _RATE.search(stem):
        yield _RATE.sub("", stem)
        yield _RATE.sub("", stem).lstrip("0")


def _stem(path: str) -> str:
    return path.rpartition("/")[2]
