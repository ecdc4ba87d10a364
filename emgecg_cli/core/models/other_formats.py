"""What a file or a folder is that cannot be a backbone, and what to do with it: one line for every usual case."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from emgecg_cli.core.models.capacity import Missing

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
TRAINERS = ("training_args.bin", "optimizer.pt", "scheduler.pt")  # what training leaves beside the weights
PARTS = ("adapter", "backbone", "tokenizer", "checkpoints")  # folders in a run
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
SENTENCES = ("modules.json", "config_sentence_transformers.json")
OTHERS = {".onnx": "ONNX", ".h5": "TensorFlow", ".msgpack": "Flax", ".mlmodel": "Core ML", ".engine": "TensorRT",
          ".tflite": "TensorFlow Lite", ".llamafile": "llamafile"}
NEEDS = f"a backbone's folder holds {CONFIG}, *.safetensors and a tokenizer; TAB after --backbone lists models by name"
CONVERT = ("convert it once, on a machine that may run its code: `python -c \"from transformers import "
           "AutoModelForCausalLM as M, AutoTokenizer as T; M.from_pretrained('{where}', use_safetensors=False)"
           ".save_pretrained('converted'); T.from_pretrained('{where}').save_pretrained('converted')\"` "
           "(AutoModelForSeq2SeqLM for BART and T5), then `--backbone ./converted`")
GGUF = ("give the safetensors it was made from, or convert it once (docs/training.md): `pip install gguf && python -c "
        "\"from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
        "M.from_pretrained('{folder}', gguf_file='{file}').save_pretrained('converted'); "
        "T.from_pretrained('{folder}', gguf_file='{file}').save_pretrained('converted')\"`, then "
        "`--backbone ./converted`")


def what_a_file_is(path: Path) -> Missing:
    """Of a file that was given where a folder is needed."""
    folder = path.parent.as_posix()
    if is_gguf(path):
        return Missing("a GGUF file, llama.cpp's format, which cannot be trained here",
                       GGUF.format(folder=_pasted(folder, "FOLDER"), file=_pasted(path.name, "FILE")))
    if path.suffix == ".safetensors" or path.name in (CONFIG, INDEX, *TOKENIZERS):
        return Missing("a file, where the folder it lies in is needed", f"--backbone {_typed(folder)}")
    if path.suffix in PICKLED:
        return Missing("a file of pickled weights, which can run code when it is loaded",
                       CONVERT.format(where=_pasted(folder, "FOLDER")))
    if path.suffix in OTHERS:
        return Missing(f"a model in {OTHERS[path.suffix]}'s format", NEEDS)
    return Missing("a file, where a folder is needed", NEEDS)


def is_gguf(path: Path) -> bool:
    """Whether a file is one, by its name or its first four bytes."""
    if path.suffix.lower() == ".gguf":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"GGUF"
    except OSError:
        return False


def what_it_is(where: str, files: Collection[str], folder: Path | None) -> Missing | None:
    """Of a place on the hub, or a folder here, with these `files`: what it is if no backbone, else None.

    `where` is how it is given. Only names are looked at, and of a folder a few small files.
    """
    return ((_of_ours(where, folder) if folder else None) or _of_others(where, files, folder)
            or _no_weights(where, files, folder) or (_damaged(folder, files) if folder else None))


def _of_ours(where: str, folder: Path) -> Missing | None:
    """An artefact of medreport that is no export."""
    kind, tuning = _kind_of(folder)
    if kind == "run" and tuning != "merged":
        name = folder.resolve().name
        return Missing("it is a run of medreport, whose weights are an adapter or lie in parts",
                       f"`{_export(where, name)}`, then `--backbone {shlex.quote(f'exports/{name}')}`")
    if kind == "encoder":
        return Missing("it is an encoder that `medreport pretrain` trained, not a language model",
                       f"give it with --encoder-weights {shlex.quote(where)}, and a language model with --backbone")
    if kind not in (None, "run"):
        return Missing(f"it is a medreport artefact of the kind '{kind}', not a language model", NEEDS)
    if kind is None and folder.name in PARTS and _kind_of(folder.resolve().parent)[0] == "run":
        run = folder.parent.as_posix()
        return Missing(f"it is a part of the run {run}",
                       f"`{_export(run, folder.resolve().parent.name)}`, then give that")
    if (folder / "checkpoints").is_dir() and not (folder / CONFIG).exists():
        return Missing("it looks like a run that is not finished",
                       "run the same `medreport train` again, then `medreport export`")
    return None


def _of_others(where: str, files: Collection[str], folder: Path | None) -> Missing | None:
    """A model of another kind than one that writes."""
    if any(name in files for name in ADAPTER):
        base = _shown(str((_read(folder / ADAPTER[0]) if folder else {}).get("base_model_name_or_path") or ""))
        of = f" of {base}" if base else ""
        return Missing(f"it holds an adapter{of} (peft), not a model",
                       "merge it once: `python -c \"from peft import AutoPeftModelForCausalLM as P; from transformers "
                       f"import AutoTokenizer as T; P.from_pretrained('{_pasted(where, 'FOLDER')}').merge_and_unload()"
                       f".save_pretrained('merged'); T.from_pretrained('{_pasted(base, 'BASE')}')"
                       ".save_pretrained('merged')\"`, then `--backbone ./merged`; or give the model it was made for")
    if any(name in files for name in SENTENCES):
        return Missing("it is a sentence-transformers model, which turns texts into vectors and writes none",
                       "give a language model, `--backbone smollm2-135m` say")
    config = _read(folder / CONFIG) if folder else {}
    if isinstance(config.get("quantization"), dict) and "quantization_config" not in config:
        return Missing("its weights are packed in MLX's own way", "give the safetensors it was made from")
    return None


def _no_weights(where: str, files: Collection[str], folder: Path | None) -> Missing | None:
    """Why there are no weights to load, and how to get some."""
    if weight_files(files):
        return None
    packed = sorted(name for name in files if name.lower().endswith(".gguf"))
    if packed:
        more = f" and {len(packed) - 1} more" if packed[1:] else ""
        return Missing(f"it holds GGUF files ({packed[0]}{more}), llama.cpp's format, which cannot be trained here",
                       GGUF.format(folder=_pasted(where, "FOLDER"), file=_pasted(packed[0], "FILE")))
    shards = sorted(name for name in files if re.fullmatch(SHARD, name))
    if shards:
        return Missing(f"it holds shards ({shards[0]} …) without {INDEX}, which says what is in which",
                       f"fetch {INDEX} from where they came")
    others = sorted(name for name in files if name.endswith(".safetensors"))
    if others:
        return Missing(f"its weights are named {others[0]}, not {WEIGHTS}",
                       "give the folder in Hugging Face's format: the vendor's own has other names for the weights")
    pickled = sorted(name for name in files if name.endswith(PICKLED) and name not in TRAINERS)
    if pickled:
        return Missing(f"it holds only pickled weights ({pickled[0]}), which can run code when they are loaded",
                       CONVERT.format(where=_pasted(where, "FOLDER")))
    found = next((OTHERS[suffix] for suffix in OTHERS for name in files if name.endswith(suffix)), None)
    if found:
        return Missing(f"it holds weights in {found}'s format only", NEEDS)
    snapshots = sorted((folder / "snapshots").iterdir()) if folder and (folder / "snapshots").is_dir() else []
    if snapshots:
        return Missing("it is the cache's folder of a model, which lies one deeper",
                       f"--backbone {_typed(snapshots[-1].as_posix())}")
    return Missing(f"it holds no weights ({WEIGHTS}, or shards with {INDEX})", NEEDS)


def _damaged(folder: Path, files: Collection[str]) -> Missing | None:
    """A backbone's folder from which something is missing."""
    if CONFIG not in files:
        return Missing(f"it holds weights, and no {CONFIG}", f"fetch {CONFIG} from where they came")
    if INDEX in files and WEIGHTS not in files:
        named = _read(folder / INDEX).get("weight_map")
        if not isinstance(named, dict) or not named:
            return Missing(f"its {INDEX} is damaged", "fetch it again from where it came")
        gone = sorted({str(name) for name in named.values()} - set(files))
        if gone:
            more = f" and {len(gone) - 1} more" if gone[1:] else ""
            return Missing(f"its shard {gone[0]}{more} is not there", "fetch it again from where the others came")
    for name in weight_files(files):
        with (folder / name).open("rb") as stream:
            if stream.read(24) == b"version https://git-lfs.":
                return Missing(f"{name} is Git LFS' note of the weights, not the weights", "run `git lfs pull` in it")
    return None


def hint_of_a_failure(folder: Path) -> str:
    """What to do when a folder that has its weights cannot be loaded: what is missing, else where to look."""
    files = {path.name for path in folder.iterdir()}
    sentences = sorted(name for name in files if name.endswith(".model"))
    if sentences and "tokenizer.json" not in files:
        return f"its tokenizer is {sentences[0]} alone: `pip install 'medreport[sentencepiece]'`, then try again"
    if not any(name in files for name in TOKENIZERS):
        return "it has no tokenizer: copy tokenizer.json and tokenizer_config.json of the model it was made from"
    kinds = _read(folder / CONFIG).get("architectures")
    kind = kinds[0] if isinstance(kinds, list) and kinds and isinstance(kinds[0], str) else None
    if kind and not kind.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
        return f"its {CONFIG} says {_shown(kind)}, which is no model that writes: give a causal one, BART or T5"
    return "see whether transformers loads it at all; a damaged or half-copied file does not, nor a newer kind of model"


def weight_files(files: Collection[str]) -> list[str]:
    """Which of these files at the root of a model hold its weights: one file, or its shards; only safetensors count."""
    there = sorted(files)
    if WEIGHTS in there:
        return [WEIGHTS]
    shards = [name for name in there if re.fullmatch(SHARD, name)] if INDEX in there else []
    return [name for name in shards if name.startswith("model-")] or shards


SHARD = r".+-\d{5}-of-\d{5}\.safetensors"


def _kind_of(folder: Path) -> tuple[str | None, str | None]:
    """Kind, and of a run the tuning, that a manifest of ours in a folder names."""
    manifest = _read(folder / "manifest.json")
    kind, details = manifest.get("kind"), manifest.get("details")
    model = details.get("model") if isinstance(details, dict) else None
    tuning = model.get("tuning") if isinstance(model, dict) else None
    ours = isinstance(kind, str) and "format_version" in manifest
    return (_shown(str(kind)), tuning) if ours else (None, None)


def _read(path: Path) -> dict[str, Any]:
    """A small JSON file; empty where there is none, or something else."""
    try:
        value = json.loads(path.read_bytes()) if path.is_file() and path.stat().st_size < 1 << 26 else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _shown(text: str) -> str:
    """A text of somebody's file as it may stand in a message."""
    return "".join(c for c in text if c.isprintable() and c not in "\"'`")[:120]


def _pasted(text: str, otherwise: str) -> str:
    """A name of somebody's as it may stand between the quotes of a command, which a shell and Python would read."""
    return text if re.fullmatch(r"[\w./@:+ -]+", text) else otherwise


def _export(run: str, name: str) -> str:
    return shlex.join(["medreport", "export", run, "--to", f"exports/{name}"])


def _typed(folder: str) -> str:
    return shlex.quote(folder if folder.startswith(("/", ".", "~")) else f"./{folder}")
