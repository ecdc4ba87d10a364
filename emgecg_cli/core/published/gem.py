"""GEM's released weights: to a run that `generate` takes, and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

from emgecg_cli.core.claims import claim, confirm_finished
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import made_aside
from emgecg_cli.core.instructions.template_settings import settle_template
from emgecg_cli.core.instructions.turns import turn_end
from emgecg_cli.core.manifest import (
    Manifest,
    check_files,
    check_folder_name,
    file_hashes,
    hashes_of,
    is_finished,
    package_versions,
    path_from,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.models.backbones import fingerprint
from emgecg_cli.core.models.other_formats import CONFIG, weight_files
from emgecg_cli.core.models.run_files import MERGED, SIGNAL_FILE, SUBJECTS_FILE
from emgecg_cli.core.models.weight_names import misfit
from emgecg_cli.core.published.gem_names import UNUSED, GemSizes, ours, published, sizes_of
from emgecg_cli.core.published.shards import precision_of, shapes_in, tensors_in, write_shards

TEMPLATE = "llava-v1"
TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
             "added_tokens.json")
FS, SECONDS = 500, 10
LONGEST = 910  # tokens of an answer: with the eighth that `generate` allows besides, GEM's 1,024


@dataclass(frozen=True)
class Imported:
    """A run that was made of released weights: how many names they had, how many parameters, and what was not used."""

    path: Path
    names: int
    parameters: int
    unused: list[str]
    already_finished: bool = False


def import_gem(folder: Path, out: Path, *, lead_order: str = "canonical", image_layout: str = "12x1") -> Imported:
    """Make the released weights of GEM in `folder` a run `out`; `lead_order` and `image_layout` are as in `train`.

    Raises MedReportError for weights with a missing, an unknown or a misshapen name, all of which are listed, and where
    something else is at `out`.
    """
    files, shapes = shapes_in(folder)
    sizes = sizes_of(folder / CONFIG, shapes)
    unused = [name for name in shapes if name == UNUSED]
    held = {name: torch.Size(shape) for name, shape in shapes.items() if name != UNUSED}
    if wrong := misfit(held, sizes.expected()):
        raise MedReportError(f"{folder}: not the released weights of GEM: {wrong}",
                             "give the folder of LANSG/GEM, complete: `hf download LANSG/GEM --local-dir DIR`")
    check_folder_name(out)
    settings = {"weights": "gem", "lead_order": lead_order, "image_layout": image_layout}
    inputs = {"weights": {"path": path_from(folder, out), "hash": fingerprint(folder)}}
    machine = {"device": "cpu", "precision": "fp32" if precision_of(files[0]) == "F32" else "bf16"}
    plan = {"settings": settings, "inputs": hashes_of(inputs), "machine": machine, "versions": package_versions()}
    counted = len(held), sum(shape.numel() for shape in held.values())
    if is_finished(out):
        confirm_finished(out, read_manifest(out, "run"), plan)
        return Imported(out, *counted, unused, already_finished=True)
    with claim(out, plan) as claimed:
        claimed.begin()
        written, details = _write(folder, files, sizes, out)
        details["model"] |= {"lead_order": lead_order, "image_layout": image_layout}
        details |= {"machine": machine, "files": file_hashes(out, written)}
        write_manifest(out, Manifest("run", "import-weights", settings, 0,
                                     {"longest_report_tokens": LONGEST, "parameters": counted[1]}, inputs, details))
        claimed.finish()
    return Imported(out, *counted, unused)


def _write(folder: Path, files: list[Path], sizes: GemSizes, out: Path) -> tuple[list[str], dict[str, Any]]:
    """All files but the manifest, aside first; their names, and what the manifest says of them."""
    own: dict[str, Tensor] = {}

    def language() -> Iterator[dict[str, Tensor]]:
        for file in files:
            tensors = {name: tensor for name, tensor in tensors_in(file) if name != UNUSED}
            own.update({other: tensor for name, tensor in tensors.items() if (other := ours(name))})
            yield {name: tensor for name, tensor in tensors.items() if not ours(name)}

    with made_aside(out / ".files.tmp") as aside:
        backbone = aside / "backbone"
        backbone.mkdir()
        sizes.language.architectures = ["LlamaForCausalLM"]
        sizes.language.save_pretrained(backbone)
        write_shards(backbone, language(), len(files))
        save_file(own, aside / SIGNAL_FILE)
        (aside / SUBJECTS_FILE).write_text("")  # nobody says whom it was trained on
        tokenizer = _tokenizer(folder, sizes, aside)
        written = sorted(path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file())
    return written, {
        "dataset": "ECGInstruct, ECG-Grounding", "fs": FS, "sig_len": FS * SECONDS, "recipe": "gem", "trains": [],
        "encoder_targets": [], "turn": turn_end(tokenizer, [tokenizer.eos_token_id]).details(), "kept_step": None,
        "validation": None,
        "model": {"backbone": "gem", "revision": None, "tuning": "full", "new_tokens": "none",
                  "encoder": "ecg-coca,clip", "projector": "shared-gelu", "fusion": "splice", "fusion_layers": "auto",
                  "signal_tokens": 1, "tokens_from": "pooled", "token_norm": "none", "image_mode": "ori",
                  "sizes": {"ecg-coca": dict(sizes.ecg), "clip": dict(sizes.image)}}}


def _tokenizer(folder: Path, sizes: GemSizes, aside: Path) -> Any:
    """The tokenizer of the weights with LLaVA's template, saved beside them."""
    there = [name for name in TOKENIZER if (folder / name).is_file()]
    bare = aside / "tokenizer"
    bare.mkdir()
    for name in there:
        shutil.copyfile(folder / name, bare / name)
    sizes.language.save_pretrained(bare)  # not GEM's, whose kind of model nobody here knows
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(bare, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exception
        raise MedReportError(f"{folder}: its tokenizer cannot be loaded ({' '.join(str(error).split())[:160]})",
                             "for tokenizer.model alone: `pip install 'medreport[sentencepiece]'`") from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    settle_template(tokenizer, TEMPLATE, None, None)
    shutil.rmtree(bare)
    tokenizer.save_pretrained(bare)
    return tokenizer


def export_gem(run: Path, out: Path) -> list[str]:
    """Write a run's weights under GEM's published names to a new folder `out`, with configuration and tokenizer;
    returns the names.

    Raises MedReportError for a run of another make, with the names that do not fit, and where something is at `out`.
    """
    manifest = read_manifest(run, "run", made_by="import-weights")
    model = manifest.details["model"]
    check_files(run, manifest)
    if model["tuning"] not in ("full", MERGED):
        raise MedReportError(f"{run}: its weights are an adapter's", f"merge them first: `medreport export {run}`")
    if out.exists():
        raise MedReportError(f"{out}: is there already", "give another --to")
    backbone = run if model["tuning"] == MERGED else run / "backbone"
    weights = [backbone / name for name in weight_files([path.name for path in backbone.iterdir()])]
    own = {published(name): tensor for name, tensor in load_file(run / SIGNAL_FILE).items()}
    if None in own:
        raise MedReportError(f"{run}: has weights that GEM has no name for", "give a run of ecg-coca and clip with "
                             "--projector shared-gelu and --fusion splice")
    held = {str(name): tuple(tensor.shape) for name, tensor in own.items()}
    held |= shapes_in(backbone)[1]
    config = _published_config(json.loads((backbone / CONFIG).read_bytes()))
    with made_aside(out / ".export.tmp") as aside:
        (aside / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        wrong = misfit({name: torch.Size(shape) for name, shape in held.items()},
                       sizes_of(aside / CONFIG, held).expected())
        if wrong:
            raise MedReportError(f"{run}: not of GEM's make: {wrong}", "give a run of ecg-coca and clip with "
                                 "--projector shared-gelu and --fusion splice on a LLaMA")
        write_shards(aside, _parts(weights, own), len(weights) + 1)
        for path in (run if model["tuning"] == MERGED else run / "tokenizer").iterdir():
            if path.name in TOKENIZER:
                shutil.copyfile(path, aside / path.name)
    return sorted(held)


def _parts(files: list[Path], own: Mapping[Any, Tensor]) -> Iterator[dict[str, Tensor]]:
    for file in files:
        yield dict(tensors_in(file))
    yield {str(name): tensor for name, tensor in own.items()}


def _published_config(language: Mapping[str, Any]) -> dict[str, Any]:
    """GEM's configuration around that of its language model."""
    return dict(language) | {
        "architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava_llama", "image_aspect_ratio": "ori",
        "mm_patch_merge_type": "flat", "mm_projector_type": "mlp2x_gelu", "mm_ecg_projector_type": "linear",
        "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch", "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False, "open_clip_config": "coca_ViT-B-32",
        "mm_vision_tower": "openai/clip-vit-large-patch14-336"}
