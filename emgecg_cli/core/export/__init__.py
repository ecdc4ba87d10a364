"""`export`: a run in, a folder out that holds the merged backbone in Hugging Face's format, and a model card.

An export is a run itself: it no longer needs its backbone, and `generate` works on it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig

from emgecg_cli.core.claims import claim, confirm_finished
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.export.card import public, write_card
from emgecg_cli.core.files import made_aside
from emgecg_cli.core.instructions.turns import turn_of
from emgecg_cli.core.manifest import (
    Manifest,
    check_files,
    check_folder_name,
    file_hashes,
    hashes_of,
    input_of,
    is_finished,
    package_versions,
    path_at,
    path_from,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.models.run_files import (
    LOADING,
    MERGED,
    SIGNAL_FILE,
    SUBJECTS_FILE,
    cannot_load,
    check_there,
    load_run_backbone,
    load_tokenizer,
)
from emgecg_cli.core.models.tuning import ADAPTED

LOGS = ("metrics.jsonl", "validation.jsonl")
CARD = "README.md"


@dataclass(frozen=True)
class ExportResult:
    """A finished export and its size in bytes."""

    path: Path
    precision: str
    size: int
    already_finished: bool = False


def export_run(run: Path, out: Path, precision: str = "auto", backbone: Path | None = None,
               download: bool = False) -> ExportResult:
    """Write the run's backbone, its adapter merged, with tokenizer, signal weights and model card to the folder `out`.

    `precision` is fp32, bf16, or "auto", as the run was trained. `backbone` is where the folder of the run's backbone
    lies, if it was moved; `download` allows to fetch one that the run names from the hub. A run trained in 4 bits
    (qlora) is merged into those same weights, dequantised, and not into the backbone's own, beside which it was not
    trained.
    Raises MedReportError when the run is not finished, or something else is there.
    """
    manifest = read_manifest(run, "run", made_by="train")
    if manifest.details["model"]["tuning"] == MERGED:
        raise MedReportError(f"{run}: is an export already", "use it as it is")
    check_folder_name(out)
    settings = {"precision": _precision(manifest, precision)}
    inputs = {"run": input_of(run, out), **_repointed(run, manifest, out)}
    plan = {"settings": settings, "inputs": hashes_of(inputs), "machine": manifest.details["machine"],
            "versions": package_versions()}
    if is_finished(out):
        done = read_manifest(out, "run")
        confirm_finished(out, done, plan)
        return ExportResult(out, settings["precision"], _size(out, done), already_finished=True)
    with claim(out, plan) as claimed:
        check_files(run, manifest)
        if manifest.details["model"]["tuning"] != "full" or backbone:
            check_there(run, manifest, backbone, download)
        claimed.begin()
        written = _write(run, manifest, out, settings["precision"], backbone, download)
        details = manifest.details | {
            "model": manifest.details["model"] | {"tuning": MERGED, "trained_by": manifest.details["model"]["tuning"],
                                                  "backbone": public(manifest.details["model"]["backbone"])},
            "trained_with": manifest.versions, "files": file_hashes(out, written)}
        made = Manifest("run", "export", settings, manifest.seed, manifest.counts, inputs, details)
        write_manifest(out, made)
        claimed.finish()
    return ExportResult(out, settings["precision"], _size(out, made))


def _precision(manifest: Manifest, asked: str) -> str:
    if asked not in ("auto", "fp32", "bf16"):
        raise MedReportError(f"no precision '{asked}'", "available: auto, fp32, bf16")
    return manifest.details["machine"]["precision"] if asked == "auto" else asked


def _repointed(run: Path, manifest: Manifest, out: Path) -> dict[str, dict[str, str]]:
    """The store and instructions of the run, as they lie from the export: what `generate` takes by default."""
    return {role: named | {"path": path_from(path_at(run, named["path"]), out)}
            for role, named in manifest.inputs.items() if role in ("store", "instructions", "references")}


def _write(run: Path, manifest: Manifest, out: Path, precision: str, moved: Path | None, download: bool) -> list[str]:
    """All files but the manifest, aside first; returns their names."""
    try:
        tokenizer = load_tokenizer(run)
        backbone = load_run_backbone(run, manifest, tokenizer, torch.bfloat16 if precision == "bf16" else torch.float32,
                                     dequantised=True, moved=moved, download=download)
        if manifest.details["model"]["tuning"] in ADAPTED:
            backbone = backbone.merge_and_unload(safe_merge=True)
    except LOADING as error:
        raise cannot_load(run, error) from None
    stop = list(turn_of(manifest.details, tokenizer).stop)
    backbone.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=stop if len(stop) > 1 else stop[0],
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=getattr(backbone.config, "decoder_start_token_id", None))
    there = manifest.details["files"]
    kind = "AutoModelForSeq2SeqLM" if backbone.config.is_encoder_decoder else "AutoModelForCausalLM"
    with made_aside(out / ".export.tmp") as aside:
        backbone.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        for name in (SIGNAL_FILE, SUBJECTS_FILE, *(log for log in LOGS if log in there)):
            shutil.copyfile(run / name, aside / name)
        (aside / CARD).write_text(write_card(run, manifest, precision, kind), encoding="utf-8")
        return sorted(path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file())


def _size(out: Path, manifest: Manifest) -> int:
    return sum((out / name).stat().st_size for name in manifest.details["files"])
