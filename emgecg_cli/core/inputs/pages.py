"""Pages of ECG paper as an input: drawn from the store's recordings when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emgecg_cli.core.inputs.record import Record
from emgecg_cli.core.inputs.values import Values
from emgecg_cli.core.models.preprocessing import Page, Preprocessing
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.signals.paper.images import prepare_image
from emgecg_cli.core.signals.paper.sheet import render_page
from emgecg_cli.core.store import Store

Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class PageSource:
    """float32 (3, S, S), or (K, 3, S, S) where a page is several pictures: ten seconds of the recording on a sheet of
    paper, made ready for an image encoder.

    `everywhere`: the page of any recording is shown, not only where a conversation has a part for it. A record that is
    visited with a seed has its page distorted by it in the `distortions`.
    """

    store: Store
    page: Page
    everywhere: bool = True
    distortions: tuple[str, ...] = ()

    @classmethod
    def open(cls, store: Store, preprocessing: Preprocessing, values: Values | None) -> PageSource:
        """See `InputSource`."""
        return cls(store, preprocessing.page)

    def shown_by(self, parts: Collection[str]) -> bool:
        """See `InputSource`."""
        return "image" in parts or (self.everywhere and "ecg" in parts)

    def read(self, record: Record) -> np.ndarray:
        """See `InputSource`."""
        distortions = self.distortions if record.seed is not None else ()
        return self._prepared(self.store.signal(record.shown), distortions, record.seed or 0)

    def changed(self, record: Record, change: Change) -> np.ndarray:
        """The page of a recording that is changed before it is drawn."""
        return self._prepared(change(self.store.signal(record.shown)), (), 0)

    def blank(self) -> np.ndarray:
        """See `InputSource`: an empty sheet, of which nothing is seen."""
        return _empty(self.page)

    @staticmethod
    def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
        """See `InputSource`."""
        return np.stack(arrays)

    def _prepared(self, signal: np.ndarray, distortions: Sequence[str], seed: int) -> np.ndarray:
        drawn = render_page(signal, self.store.fs, layout=self.page.layout, dpi=self.page.dpi, distortions=distortions,
                            seed=seed)
        return prepare_image(drawn, mode=self.page.mode, size=self.page.size)


@lru_cache(maxsize=2)
def _empty(page: Page) -> np.ndarray:
    drawn = render_page(np.zeros((len(LEADS), 1000), np.int16), 100, layout=page.layout, dpi=page.dpi)
    made = prepare_image(drawn, mode=page.mode, size=page.size)
    made.setflags(write=False)
    return made
