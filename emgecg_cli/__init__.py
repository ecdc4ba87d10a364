"""medreport: from raw ECG and EMG recordings to clinical reports whose every score can be reproduced.

`import emgecg_cli as mr` gives the commands as functions: `mr.prepare`, `mr.open_store`, `mr.view`, `mr.measure`,
`mr.build_instructions`, `mr.train`, `mr.generate`, `mr.perturb`, `mr.score`, `mr.report`. They are
imported when they are first used, so that the import itself costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emgecg_cli.api import (
        MedReportError,
        build_instructions,
        generate,
        measure,
        open_store,
        perturb,
        prepare,
        read_predictions,
        report,
        score,
        train,
        view,
    )

__version__ = "0.1.0"
__all__ = ["MedReportError", "build_instructions", "generate", "measure", "open_store", "perturb", "prepare",
           "read_predictions", "report", "score", "train", "view"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'emgecg_cli' has no attribute '{name}'")
    from emgecg_cli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
