"""Reference ranges of nerve-conduction values: percentiles of healthy people, and where a value lies among them.

`table` holds them and judges a value, `fit` computes them, `covariates` adjusts for age, height and sex, `files`
reads and writes `references.json`. Who is healthy is read from reports, by `reports.emg`.
"""

from emgecg_cli.core.references.files import read_references, serialise, write_references
from emgecg_cli.core.references.fit import fit
from emgecg_cli.core.references.table import (
    CLASSES,
    PERCENTILES,
    Reference,
    References,
    abnormality,
    deviation,
    is_outside,
    matrix,
    rank,
)

__all__ = ["CLASSES", "PERCENTILES", "Reference", "References", "abnormality", "deviation", "fit", "is_outside",
           "matrix", "rank", "read_references", "serialise", "write_references"]
