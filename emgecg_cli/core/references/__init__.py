"""Reference ranges of nerve-conduction values: percentiles of healthy people, and where a value lies among them.

`table` holds them and judges a value, `fit` computes them, `covariates` takes age, height and sex out, `healthy`
decides who is healthy, `nerves` and `places` which nerves of a patient are called normal, `files` reads and writes
`references.json`.
"""

from emgecg_cli.core.references.files import read_references, serialise, write_references
from emgecg_cli.core.references.fit import fit
from emgecg_cli.core.references.healthy import is_healthy, why_not_healthy
from emgecg_cli.core.references.nerves import NormalNerves, normal_nerves, normal_values
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

__all__ = ["CLASSES", "PERCENTILES", "NormalNerves", "Reference", "References", "abnormality", "deviation", "fit",
           "is_healthy", "is_outside", "matrix", "normal_nerves", "normal_values", "rank", "read_references",
           "serialise", "why_not_healthy", "write_references"]
