"""The model card of an exported run: what it is and is for, what it was trained on. Facts from its manifest only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.pages.printable import steerless

QLORA = """
The run was trained on a backbone in 4 bits (QLoRA). Its adapter is merged into those same weights, dequantised, so that
they say what the run says; apart from the adapter they differ from the backbone's own by what 4 bits lose.
"""

INTENDED = """## Intended use and limits

For research on report generation only. **It is not a medical device, and nothing it writes may be used to diagnose or
treat anyone.**

- It writes a fluent report whatever it is shown, also for noise, for a flat line, and for leads in a wrong order.
- It knows the vocabulary, the language and the population of its training reports, and errs where patients, devices or
  wording differ. It has not been tested on any group of patients apart.
- It may repeat phrases of training reports. `{subjects}` holds hashes of the patients it was trained on, by which
  `medreport generate` refuses to test on them; check your data's terms before you pass weights or hashes on.
"""

LOADING = """## How to load

With its signal encoder, on a store that `medreport prepare` wrote:

```sh
medreport generate {folder} --store STORE --instructions INSTRUCTIONS --out predictions.jsonl
```

The language model alone, without the signal (it then reports what it has never seen):

```python
from transformers import {kind}, AutoTokenizer

model = {kind}.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
```

`signal.safetensors` holds the weights of encoder, projector and fusion; `manifest.json` says how they are put together.
"""


def write_card(run: Path, manifest: Manifest, precision: str, kind: str) -> str:
    """The card as Markdown. `kind` is the class of transformers that loads the backbone.

    Losses come from the run's `metrics.jsonl`, which its manifest covers.
    """
    details, settings = manifest.details, manifest.details["model"]
    sections = [
        _header(settings), _what(manifest, settings, precision), INTENDED.format(subjects="train_subjects.txt"),
        _backbone(manifest, settings), _data(manifest),
        "## Training\n\n" + _table(("part", "tuning", "parameters", "trainable"),
                                   [(row["part"], row["tuning"], f"{row['parameters']:,}", f"{row['trainable']:,}")
                                    for row in details["trains"]]),
        _table(("measure", "value"), _losses(run, manifest)),
        "Settings:\n\n" + _table(("setting", "value"), ((key, public(value)) for key, value in
                                                          manifest.arguments.items())),
        "Versions:\n\n" + _table(("package", "version"), manifest.versions.items()),
        LOADING.format(folder="FOLDER", kind=kind)]
    return steerless("\n".join(section.strip("\n") + "\n" for section in sections if section))


def public(value: Any) -> Any:
    """A setting as it may be passed on: of a path on this machine its last name only."""
    if not isinstance(value, str) or not (value.startswith("~") or PurePosixPath(value).is_absolute()
                                          or PureWindowsPath(value).is_absolute()):
        return value
    return PureWindowsPath(value).name or PurePosixPath(value).name


def _header(settings: Mapping[str, Any]) -> str:
    """What the hub reads."""
    stem, _ = names.split_revision(settings["backbone"])
    known = names.BACKBONES.get(stem)
    lines = ["---", "library_name: transformers", "license: other", "tags: [medreport, ecg, report-generation]"]
    if known and known.hub_id:
        lines.append(f"base_model: {known.hub_id}")
    return "\n".join([*lines, "---"])


def _what(manifest: Manifest, settings: Mapping[str, Any], precision: str) -> str:
    text = (f"# Reports from 12-lead ECGs: {public(settings['backbone'])} on {manifest.details['dataset']}\n\n"
            f"A language model that drafts the report of a 12-lead ECG of {manifest.details['sig_len']} samples at "
            f"{manifest.details['fs']} Hz. The signal goes through the encoder `{settings['encoder']}` and the "
            f"projector `{settings['projector']}`, and enters the backbone as {settings['signal_tokens']} signal "
            f"token(s) by `{settings['fusion']}`. The backbone was tuned by `{settings['tuning']}` and is merged here, "
            f"in {precision}, by `medreport export`.\n")
    return text + (QLORA if settings["tuning"] == "qlora" else "")


def _backbone(manifest: Manifest, settings: Mapping[str, Any]) -> str:
    stem, _ = names.split_revision(settings["backbone"])
    known = names.BACKBONES.get(stem)
    if stem == "tiny":
        return "## Backbone and licence\n\nBuilt from sizes and trained from scratch on the data below."
    where = known.hub_id if known else "a folder" if "backbone" in manifest.inputs else stem
    revision = f", commit `{settings['revision']}`" if settings.get("revision") else ""
    accepted = ", which must be accepted on the Hugging Face hub" if known and known.gated else ""
    name = public(settings["backbone"])
    return (f"## Backbone and licence\n\n`{name}`: {where}{revision}. These weights are derived from it, so its "
            f"licence holds for them{accepted}: read it before you use or share them.")


def _data(manifest: Manifest) -> str:
    rows = [("data set", manifest.details["dataset"]), *manifest.counts.items()]
    rows += [(f"hash of the {role}", f"`{named['hash']}`") for role, named in manifest.inputs.items()]
    return "## Data\n\n" + _table(("fact", "value"), rows)


def _losses(run: Path, manifest: Manifest) -> list[tuple[str, Any]]:
    """The last line of the log, and the validation losses at the step that was kept."""
    rows: list[tuple[str, Any]] = []
    if "metrics.jsonl" in manifest.details["files"]:
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        rows += [(f"training, last step: {key}", value) for key, value in last.items()]
    validation = manifest.details.get("validation") or {}
    rows += [(f"validation: {key}", value) for key, value in validation.items()]
    if manifest.details.get("kept_step") is not None:
        rows.append(("step whose weights these are", manifest.details["kept_step"]))
    return rows or [("losses", "not recorded")]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: Any) -> str:
    """One line without a bar, which would end the cell."""
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())
