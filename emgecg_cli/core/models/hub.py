"""Where a backbone lies and whether it can be had here: checked before any download, and all that is missing reported
at once.

What is complete in the cache is used as it is, without a question to the network. What is not is downloaded file by
file, small ones first; transformers then reads a folder, so that it neither asks the hub, nor waits for it, nor has a
service convert pickled weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import (
    HfApi,
    constants,
    get_session,
    get_token,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub import errors as hub_errors
from huggingface_hub.file_download import get_hf_file_metadata
from huggingface_hub.hf_api import ModelInfo

from emgecg_cli.core import names
from emgecg_cli.core.bounded_http import SLOWEST, Limits, bound, within
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import check_tree
from emgecg_cli.core.models.capacity import Missing, Use, gigabytes, missing_disk, missing_memory
from emgecg_cli.core.models.other_formats import (
    CONFIG,
    INDEX,
    TOKENIZERS,
    WEIGHTS,
    weight_files,
    what_a_file_is,
    what_it_is,
)

TIMEOUT = 10.0  # seconds of silence of the hub
ASKING, LARGEST_ANSWER = 60.0, 1 << 26  # seconds and bytes that an answer may take
GRACE, FRAMING = 120.0, 1 << 20  # seconds and bytes beside those that a file takes
SMALL = (".json", ".model", ".txt", ".jinja")
constants.HF_HUB_DISABLE_TELEMETRY = True  # a download says what is wanted, not which tools run here
NO_NETWORK = (hub_errors.HTTPError, OSError)


@dataclass(frozen=True)
class Place:
    """Where a backbone is looked for: a `folder`, or a hub id at a revision (None: the newest)."""

    name: str
    folder: Path | None = None
    repo: str = ""
    revision: str | None = None

    @property
    def known(self) -> names.Backbone | None:
        """The line of the table of backbones that is meant, if there is one."""
        return next((line for line in names.BACKBONES.values() if self.repo and line.hub_id == self.repo), None)

    @property
    def url(self) -> str:
        """The page of a hub id."""
        return f"{constants.ENDPOINT}/{self.repo}"


def locate(name: str, revision: str | None = None) -> Place:
    """A folder, a known name or a hub id, the latter two with `@revision` behind if asked; `revision` goes before that.

    Raises MedReportError for what is none of them.
    """
    if Path(name).is_dir():
        return Place(name, Path(name))
    if Path(name).is_file():
        found = what_a_file_is(Path(name))
        raise MedReportError(f"backbone {name} cannot be used here: it is {found.what}", found.remedy)
    if name.lower().endswith(".gguf"):
        raise MedReportError(f"backbone {name}: no such file", "check the path; a GGUF file must be converted first, "
                                                               "see docs/training.md")
    stem, asked = names.split_revision(name)
    if stem == "tiny":
        raise MedReportError("backbone tiny is built from sizes and cannot be loaded", "train it: --backbone tiny")
    if stem in names.BACKBONES:
        return Place(name, repo=names.BACKBONES[stem].hub_id, revision=revision or asked)
    if stem.startswith((".", "/", "~")):
        there = Path(name).expanduser().exists()
        raise MedReportError(f"backbone {name}: {'not a' if there else 'no such'} folder",
                             "give a folder in Hugging Face format, or a hub id")
    if "/" not in stem:
        raise names.unknown_name("backbone", stem, names.BACKBONES)
    try:
        huggingface_hub.utils.validate_repo_id(stem)
    except hub_errors.HFValidationError:
        raise MedReportError(f"backbone {name}: neither a folder nor a hub id (owner/name)",
                             "check the spelling") from None
    return Place(name, repo=stem, revision=revision or asked)


def obtain(place: Place, use: Use, download: bool = True) -> Path:
    """The folder of a backbone that this machine can use, downloaded first if need be and `download` allows it; a hub
    model's bears its commit.

    Raises one MedReportError that lists all that is missing: access, network, disk, memory, weights in safetensors.
    """
    folder = place.folder or cached(place)
    if folder is None and not download:
        raise not_asked_for(place)
    if folder is not None:
        check_tree(folder, links=True)  # the cache's files are links to where it keeps them
        files = [path.name for path in folder.iterdir()]
        odd = _odd(place, files)
        if odd:
            raise _refusal(place, [odd])
        _refuse(place, missing_memory(_stored_parameters(folder), use))
        return folder
    cache = Path(constants.HF_HUB_CACHE)
    info, missing = _ask(place)
    if info is None:  # the table knows enough to say the rest of what is missing
        parameters = place.known.parameters if place.known else 0
        raise _refusal(place, [*missing, *missing_disk(2 * parameters, cache), *missing_memory(parameters, use)])
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or [] if "/" not in file.rfilename}
    weights = weight_files(sizes)
    odd = _odd(place, sizes)
    missing += [odd] if odd else []
    wanted = [*sorted(name for name in sizes if name.endswith(SMALL)), *weights]
    lacking = [name for name in wanted if not isinstance(_in_cache(place, name, info.sha), str)]
    missing += missing_disk(sum(sizes[name] for name in lacking), cache)
    missing += missing_memory(_parameters(place, info, sum(sizes[name] for name in weights)), use)
    _refuse(place, missing)
    return _download(place, str(info.sha), {name: sizes[name] for name in wanted}, lacking)


def not_asked_for(place: Place) -> MedReportError:
    """The error for a hub model that only a run names, and nobody here asked for."""
    revision = f" --revision {place.revision}" if place.revision else ""
    return MedReportError(f"backbone {place.name}: not complete on this machine, and would be fetched from the hub",
                          "add --allow-download if you trust whoever made the run, or fetch it yourself: "
                          f"`hf download {place.repo}{revision}`")


def cached(place: Place) -> Path | None:
    """The folder of a hub model in the cache, if all of it is there."""
    config = _in_cache(place, CONFIG, place.revision)
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder and _complete(folder) else None


def commit_of(place: Place, folder: Path) -> str | None:
    """The commit of a hub model in the cache."""
    return None if place.folder else folder.name


def _in_cache(place: Place, name: str, revision: str | None) -> object:
    return try_to_load_from_cache(place.repo, name, revision=revision)


def _complete(folder: Path) -> bool:
    """Whether configuration, tokenizer and every weight are in a folder."""
    if not (folder / CONFIG).is_file() or not any((folder / name).is_file() for name in TOKENIZERS):
        return False
    if (folder / WEIGHTS).is_file():
        return True
    try:
        shards = set(json.loads((folder / INDEX).read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return all((folder / name).is_file() for name in shards)


def _ask(place: Place) -> tuple[ModelInfo | None, list[Missing]]:
    """What the hub says of a model, or why it does not; two short requests and no second try."""
    if constants.HF_HUB_OFFLINE:
        return None, [_unreachable(place, "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE")]
    try:
        bound(get_session())
        with within(Limits(ASKING, LARGEST_ANSWER)):
            info = HfApi().model_info(place.repo, revision=place.revision, timeout=TIMEOUT, files_metadata=True)
            try:
                if info.gated:  # its page is public all the same, its files are not
                    get_hf_file_metadata(hf_hub_url(place.repo, CONFIG, revision=info.sha), timeout=TIMEOUT)
            except hub_errors.GatedRepoError:
                return info, [_gated(place)]
            return info, []
    except hub_errors.GatedRepoError:
        return None, [_gated(place)]
    except hub_errors.RevisionNotFoundError:
        return None, [Missing(f"no revision '{place.revision}'", f"see {place.url}/commits/main, or leave it out")]
    except hub_errors.RepositoryNotFoundError:
        if place.known and place.known.gated:
            return None, [_gated(place)]
        return None, [Missing(f"no model {place.repo} on the hub, or it is private and no token here may read it",
                              "check the spelling; for a private one run `hf auth login`")]
    except hub_errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "?"
        if status in (401, 403):
            return None, [Missing(f"the hub refuses the token here (HTTP {status})", "run `hf auth login` again")]
        return None, [_unreachable(place, f"the hub answers HTTP {status}", "try again later")]
    except NO_NETWORK as error:
        return None, [_unreachable(place, f"{constants.ENDPOINT} cannot be reached ({_first_line(error)})",
                                   "connect to a network")]


def _unreachable(place: Place, why: str, remedy: str) -> Missing:
    gated = place.known is not None and place.known.gated and get_token() is None
    nowhere = "" if place.known else f"there is no folder '{place.repo}' here, "  # a mistyped path looks like a hub id
    return Missing(f"{nowhere}it is not complete in the cache, and {why}" + (
                       "; its licence must be accepted too, and no token is set here" if gated else ""),
                   f"{remedy}{f', accept the licence at {place.url} and run `hf auth login`' if gated else ''}; or "
                   f"`hf download {place.repo}{f' --revision {place.revision}' if place.revision else ''}` where there "
                   "is a network, copy the folder and give its path; "
                   "`--backbone tiny` needs no download")


def _gated(place: Place) -> Missing:
    if get_token() is None:
        return Missing("its licence must be accepted, and no token is set here",
                       f"accept it at {place.url}, then run `hf auth login`")
    return Missing("its licence has not been accepted by, or not yet granted to, the owner of the token here",
                   f"accept it at {place.url}; a fine-grained token needs the right to read gated models")


def _odd(place: Place, files: Collection[str]) -> Missing | None:
    """What a place is if it is no backbone, and what to do about it."""
    found = what_it_is(place.folder.as_posix() if place.folder else place.repo, files, place.folder)
    if found and not place.folder and "pickled" in found.what:
        stem, _ = names.split_revision(place.name)
        return Missing(found.what, f"a pull request at {place.url}/discussions may hold safetensors: "
                                   f"`--backbone {stem}@refs/pr/N`; or {found.remedy}")
    return found


def _parameters(place: Place, info: ModelInfo, weight_bytes: int) -> int:
    """Number of parameters: as the hub counted them, as the table says, or as 16-bit files hold."""
    if info.safetensors is not None and info.safetensors.total:
        return info.safetensors.total
    return place.known.parameters if place.known else weight_bytes // 2


def _stored_parameters(folder: Path) -> int:
    """Number of parameters in a folder's weights, from the headers of the files."""
    total = 0
    for name in weight_files([path.name for path in folder.iterdir()]):
        try:
            with (folder / name).open("rb") as stream:
                header = json.loads(stream.read(min(int.from_bytes(stream.read(8), "little"), 1 << 27)))
            # gpt-oss packs two weights of its experts in a byte of "…_blocks".
            total += sum(math.prod(tensor["shape"]) * (2 if key.endswith("_blocks") else 1)
                         for key, tensor in header.items() if key != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError):
            return 0  # not safetensors: loading says so
    return total


def _refuse(place: Place, missing: list[Missing]) -> None:
    if missing:
        raise _refusal(place, missing)


def _refusal(place: Place, missing: list[Missing]) -> MedReportError:
    """All that is missing in one error."""
    which = place.name if not place.repo or place.repo in place.name else f"{place.name} ({place.repo})"
    return MedReportError(f"backbone {which} cannot be used here: {'; '.join(one.what for one in missing)}",
                          "; ".join(dict.fromkeys(one.remedy for one in missing)))


def _download(place: Place, commit: str, wanted: dict[str, int], lacking: list[str]) -> Path:
    """Fetch the files of one commit, by their sizes, and note in the cache which commit the revision stands for."""
    name, size = "", sum(wanted[one] for one in lacking)
    try:
        bound(get_session())
        for name in wanted:
            with within(Limits(GRACE, 2 * wanted[name] + FRAMING, SLOWEST)):
                hf_hub_download(place.repo, name, revision=commit)
        with within(Limits(ASKING, LARGEST_ANSWER)):
            config = hf_hub_download(place.repo, CONFIG, revision=commit)
            if place.revision != commit:
                hf_hub_download(place.repo, CONFIG, revision=place.revision)
    except (*NO_NETWORK, RuntimeError, ValueError) as error:
        raise MedReportError(f"backbone {place.name}: the download of {name} ({gigabytes(size)} in all) broke off: "
                             f"{_first_line(error)}",
                             "run the same command again: it goes on where it stopped") from None
    return Path(config).parent


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
