"""Data set repositories of the Hugging Face hub, through its own client, checked against the hub's hashes.

The hub knows the SHA-256 of large files and the git hash of small ones. Files arrive in a separate folder and
are moved into place once their bytes are right; programs and pickles of a repository are not fetched.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emgecg_cli.core.bounded_http import SLOWEST, Limits, bound, within
from emgecg_cli.core.downloads.ledger import Ledger
from emgecg_cli.core.downloads.lists import Entry, check_name
from emgecg_cli.core.downloads.places import check_place, digest_of, disk_errors
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import RESUME

INCOMING = ".medreport-incoming"
LEFT_OUT = (".py", ".pyc", ".sh", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".gitattributes")
TIMEOUT = 10.0  # seconds of silence of the hub
LIST_SECONDS, LARGEST_LIST = 120.0, 1 << 26  # of what it says of a repository
GRACE, FRAMING = 120.0, 1 << 20  # seconds and bytes beside those that a file takes


def fetch_repositories(repositories: Sequence[str], endpoint: str, root: Path, ledger: Ledger,
                       progress: Callable[..., None] | None) -> tuple[int, int, int]:
    """Fetch the repositories, each into the folder of its name under `root`.

    Returns how many files there are, how many of them were fetched, and their bytes. A killed download is resumed by
    the hub's client. Raises MedReportError when access is refused, there is no network, or the bytes are wrong.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils import disable_progress_bars

    constants.HF_HUB_DISABLE_TELEMETRY = True
    disable_progress_bars()
    if constants.HF_HUB_OFFLINE:
        raise MedReportError("HF_HUB_OFFLINE is set", "unset it to download")
    # A token is for the hub alone: a mirror never sees it.
    api = HfApi(endpoint=endpoint, token=None if endpoint == constants.ENDPOINT.rstrip("/") else False)
    check_place(root, root / INCOMING / "x")
    plans = [(repo, *_list(api, repo)) for repo in repositories]
    total, done, fetched, received = sum(len(entries) for _, _, entries in plans), 0, 0, 0
    for repo, commit, entries in plans:
        folder = repo.partition("/")[2]
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if not ledger.knows(name, entry.checksum):
                check_place(root, root / name)
                if not _is_right(root / name, entry.checksum):
                    _bring(api, repo, commit, entry, root / INCOMING / folder, root / name)
                    fetched += 1
                    received += (root / name).stat().st_size
                ledger.add(name, entry.checksum)
            done += 1
            if progress is not None:
                progress(done, total, received=f"{received / 1e9:.3f} GB")
    shutil.rmtree(root / INCOMING, ignore_errors=True)
    return total, fetched, received


def _list(api: Any, repo: str) -> tuple[str, list[Entry]]:
    """The commit of a repository and its files with their hashes."""
    info = _asked(repo, Limits(LIST_SECONDS, LARGEST_LIST),
                  lambda: api.dataset_info(repo, timeout=TIMEOUT, files_metadata=True))
    entries = []
    for file in info.siblings or []:
        if file.rfilename.lower().endswith(LEFT_OUT):
            continue
        check_name(file.rfilename, repo)
        checksum = f"sha256:{file.lfs.sha256}" if file.lfs else f"git:{file.blob_id}"
        if checksum in ("git:None", "git:"):
            raise MedReportError(f"{repo}: the hub names no hash of {file.rfilename}", "try again later")
        entries.append(Entry(file.rfilename, file.rfilename, checksum, file.size))
    if not entries:
        raise MedReportError(f"{repo}: holds no data", f"look at {api.endpoint}/datasets/{repo}")
    return str(info.sha), entries


def _bring(api: Any, repo: str, commit: str, entry: Entry, incoming: Path, target: Path) -> None:
    from huggingface_hub import hf_hub_download

    for again in (False, True):
        limits = Limits(GRACE, 2 * (entry.size or LARGEST_LIST) + FRAMING, SLOWEST)
        arrived = Path(_asked(repo, limits, lambda force=again: hf_hub_download(  # type: ignore[misc]
            repo, entry.name, repo_type="dataset", revision=commit, local_dir=incoming, endpoint=api.endpoint,
            token=api.token, force_download=force)))
        if _is_right(arrived, entry.checksum):
            with disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                arrived.replace(target)
            return
        arrived.unlink()
    raise MedReportError(f"{target}: the hub sends other bytes than it lists ({entry.checksum[:23]}… was expected)",
                         "run the same command later")


def _is_right(path: Path, checksum: str) -> bool:
    algorithm, _, expected = checksum.partition(":")
    if not path.is_file():
        return False
    return (_git_digest(path) if algorithm == "git" else digest_of(path, algorithm)) == expected


def _git_digest(path: Path) -> str:
    """The name git gives to a file's bytes: SHA-1 over "blob", the length, a zero byte and the bytes."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _asked(repo: str, limits: Limits, question: Callable[[], Any]) -> Any:
    """The hub's answer within these limits, or one line on why there is none."""
    from huggingface_hub import errors, get_session, get_token

    try:
        bound(get_session())
        with within(limits):
            return question()
    except errors.GatedRepoError:
        has = get_token() is not None
        raise MedReportError(f"{repo}: its terms must be accepted{'' if has else ', and no token is set here'}",
                             f"accept them at https://huggingface.co/datasets/{repo}"
                             f"{'' if has else ', then run `hf auth login`'}") from None
    except errors.RepositoryNotFoundError:
        raise MedReportError(f"{repo}: not on the hub, or private and no token here may read it",
                             "run `hf auth login` with an account that may") from None
    except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise MedReportError(f"{repo}: the download broke off: {said}", f"check network and disk, then {RESUME}"
                             ) from None
