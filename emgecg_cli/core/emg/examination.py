"""One examination as a store of tables holds it: the tables, or the prompt made from them, and both sections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.emg.case import Case


@dataclass(frozen=True)
class Examination:
    """`case` holds the tables. A record of the form for language models has none, but the `instruction` with one
    `<unk>` for each of `matrices`, the name of its item and its float32 (3, 7) matrix of references and value."""

    findings: str
    impression: str
    case: Case | None = None
    instruction: str | None = None
    matrices: tuple[tuple[str, np.ndarray], ...] = ()
