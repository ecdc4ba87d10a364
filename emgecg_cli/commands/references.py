"""`medreport references`: the reference ranges of a store of EMG tables, as they are or fitted anew, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import HEALTHY_HELP, JsonOpt, StoreArg, find_one, words
from emgecg_cli.core.config import HEALTHY

OutOpt = Annotated[Path, typer.Option("--out", "-o", metavar="FILE.json", show_default=False,
                                      help="Where to write the references; train and generate take such a file.")]
PercentilesOpt = Annotated[str | None, typer.Option("--percentiles", metavar="P,…", show_default=False,
                                                    help="Fit them anew, with these lower percentiles.")]
CovariatesOpt = Annotated[str | None, typer.Option("--covariates", metavar="none|age|age+height+sex",
                                                   autocompletion=words("none", "age", "age+height+sex"),
                                                   show_default=False,
                                                   help="Fit them anew, with this taken out of the values.")]
HealthyOpt = Annotated[str | None, typer.Option("--healthy", metavar="|".join(HEALTHY), autocompletion=words(*HEALTHY),
                                                show_default=False, help=f"Fit them anew, {HEALTHY_HELP}")]


def references(store: StoreArg = None, out: OutOpt = Path("references.json"), percentiles: PercentilesOpt = None,
               covariates: CovariatesOpt = None, healthy: HealthyOpt = None, as_json: JsonOpt = False) -> None:
    """Write the reference ranges of a store of EMG tables to a file: those of its healthy train examinations. A
    hospital computes its own from its own store, and a run takes them without being trained again."""
    from emgecg_cli.core.references import write_references
    from emgecg_cli.core.store import fitted_references, open_store

    found, made_of = fitted_references(open_store(store or find_one("store")), percentiles, covariates, healthy)
    digest = write_references(out, found)
    if as_json:
        console.print_json({"path": out, "sha256": digest, "items": len(found.entries)} | made_of)
        return
    console.table(["references", "items", "healthy examinations", "values of single nerves", "percentiles",
                   "covariates"],
                  [[out.as_posix(), len(found.entries), made_of["pool"].get("healthy", 0),
                    made_of.get("nerves", {}).get("values", 0), ", ".join(f"{p:g}" for p in found.percentiles),
                    found.covariates]])
