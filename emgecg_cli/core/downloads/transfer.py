"""Bring one file over HTTP: from where it stopped, as often as it takes, and never under its name before it is right.

Ranges and If-Range are RFC 9110, sections 13.1.5 and 14. A resumed file is hashed from its first byte, so that a file
that changed on the server between two runs is found out at the end.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urljoin, urlsplit

import httpx

from emgecg_cli import __version__
from emgecg_cli.core.endpoints import is_loopback, retry_after
from emgecg_cli.core.errors import MedReportError

CHUNK = 1 << 18
REDIRECTS = (301, 302, 303, 307, 308)
RESUME = "run the same command again: it goes on where it stopped"


@dataclass(frozen=True)
class Patience:
    """How often a server is asked again without getting further, and how long is waited, in seconds."""

    attempts: int = 6
    backoff: float = 1.0
    max_wait: float = 60.0
    timeout: float = 30.0


@dataclass
class Site:
    """A server, and what the threads that ask it share. `received` counts the bytes of all files."""

    base: str
    client: httpx.Client
    patience: Patience
    stop: threading.Event = field(default_factory=threading.Event)
    received: int = 0
    reached: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def url(self, address: str) -> str:
        """The address of a file of the set; an empty one is the base itself."""
        return f"{self.base}/{quote(address)}" if address else self.base

    def count(self, n_bytes: int) -> None:
        """Add what has come in."""
        with self._lock:
            self.received += n_bytes


@dataclass(frozen=True)
class Fault:
    """Why one file could not be had while others may, in one line, and what to do."""

    message: str
    hint: str


@dataclass(frozen=True)
class Received:
    """A file that came whole: the digest of its bytes, the server's strong ETag, if it gave one, and whether the
    answer said where it `ends`; `unchanged` means that nothing had to come."""

    digest: str
    tag: str | None = None
    ends: bool = False
    unchanged: bool = False


@dataclass(frozen=True)
class _Retry:
    reason: str
    wait: float | None = None


class Stopped(Exception):
    """Another thread has given up, or the user has."""


@contextmanager
def connect(base: str, connections: int, patience: Patience) -> Iterator[Site]:
    """A client for one download; a server on this machine is never reached through a proxy."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    with httpx.Client(trust_env=not is_loopback(base), timeout=patience.timeout, limits=limits, follow_redirects=False,
                      headers={"User-Agent": f"medreport/{__version__}", "Accept-Encoding": "identity"}) as client:
        yield Site(base, client, patience)


def fetch(site: Site, address: str, target: Path, checksum: str) -> Fault | None:
    """Bring a file whose checksum ("sha256:…", "md5:…") is known; what lies at `target` now is known to be another.

    What came before the process was killed lies in TARGET.part and is gone on with. A wrong checksum is given one more
    try from the first byte. Raises MedReportError when the disk or the server fails for all files.
    """
    algorithm, _, expected = checksum.partition(":")
    part, digest = part_of(target), ""
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.replace(part)  # cut short by another program, perhaps; nothing unverified keeps the name
        for _ in range(2):
            received = receive(site, address, part, algorithm)
            if isinstance(received, Fault):
                return received
            digest = received.digest
            if digest == expected:
                part.replace(target)
                return None
            part.unlink()
    return Fault(f"{target}: the server sends other bytes than the list says ({algorithm} {digest[:16]}…, "
                 f"expected {expected[:16]}…)",
                 "run the same command later; if it stays so, report it to whoever keeps the set, or try a --mirror")


def receive(site: Site, address: str, part: Path, algorithm: str, *, checked: bool = True,
            known_tag: str | None = None) -> Received | Fault:
    """Bring a file into `part`, after the bytes that are there, until it is whole; no checksum is compared.

    A file that is not `checked` against one later is taken only from a server that says where it ends, and gone on
    with only under an ETag. `known_tag` asks for the file only if it is another than the one with this ETag.
    """
    outcome: Received | Fault | None = None
    try:
        with part.open("a+b") as stream:
            outcome = _receive(site, address, _Sink(stream, algorithm), checked, known_tag)
    finally:
        if not isinstance(outcome, Received) and part.exists() and not part.stat().st_size:
            part.unlink()
    return outcome


def _receive(site: Site, address: str, sink: _Sink, checked: bool, known_tag: str | None) -> Received | Fault:
    furthest, failures, tag = sink.at, 0, known_tag
    while True:
        if not checked and not tag:
            sink.restart()
        outcome, tag = _attempt(site, address, sink, tag, known_tag is not None and sink.at == 0)
        if isinstance(outcome, Received) and not (checked or outcome.ends or outcome.unchanged):
            return Fault(f"{site.url(address)}: the server does not say how long it is", "give another --mirror")
        if not isinstance(outcome, _Retry):
            return outcome
        if sink.at > furthest:
            furthest, failures = sink.at, 0
        failures += 1
        # A server that has never answered is more likely mistyped, or the network down, than busy.
        if failures >= (site.patience.attempts if site.reached else min(2, site.patience.attempts)):
            raise MedReportError(f"{site.url(address)}: nothing came in {failures} attempts; the last: "
                                 f"{outcome.reason}", f"check the network and the address, then {RESUME}")
        asked = site.patience.backoff * 2 ** (failures - 1) if outcome.wait is None else outcome.wait
        if site.stop.wait(min(site.patience.max_wait, asked)):
            raise Stopped


class _Sink:
    """The file being written, with the digest of all bytes that are in it."""

    def __init__(self, stream: IO[bytes], algorithm: str) -> None:
        self.stream, self.algorithm, self.at = stream, algorithm, 0
        self.digest = new_digest(algorithm)
        stream.seek(0)
        while block := stream.read(CHUNK):
            self.digest.update(block)
            self.at += len(block)

    def write(self, block: bytes) -> None:
        self.stream.write(block)
        self.digest.update(block)
        self.at += len(block)

    def restart(self) -> None:
        """Drop what is there."""
        self.stream.truncate(0)
        self.digest, self.at = new_digest(self.algorithm), 0


def _attempt(site: Site, address: str, sink: _Sink, tag: str | None,
             if_changed: bool) -> tuple[Received | Fault | _Retry, str | None]:
    """Ask once, from where the sink stands; also the ETag to resume with."""
    headers = {"If-None-Match": tag} if if_changed and tag else {}
    if sink.at:
        headers["Range"] = f"bytes={sink.at}-"
        if tag:
            headers["If-Range"] = tag
    url = site.url(address)
    try:
        with _open(site, url, headers) as response:
            site.reached = True
            outcome = _judge(response, sink, url)
            if outcome is not None:
                return outcome, tag
            tag = _strong_tag(response)
            _copy(site, response, sink)
            ends = "content-length" in response.headers or "transfer-encoding" in response.headers
            return Received(sink.digest.hexdigest(), tag, ends), tag
    except httpx.InvalidURL:
        return Fault(f"{url}: not an address", "check --mirror"), tag
    except httpx.TimeoutException:
        return _Retry(f"silence for {site.patience.timeout:g} s"), tag
    except httpx.HTTPError as error:
        return _Retry(_one_line(error)), tag


def _judge(response: httpx.Response, sink: _Sink, url: str) -> Received | Fault | _Retry | None:
    """What is said by the status of an answer; None when its body is to be copied behind what is there."""
    status = response.status_code
    if status == 304:
        return Received("", unchanged=True)
    if status == 416 and sink.at:  # all of it is there, or more: the checksum decides
        total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("content-range", ""))
        if total is None or int(total[1]) == sink.at:
            return Received(sink.digest.hexdigest())
        sink.restart()
        return _Retry("the file on the server is shorter than what is here")
    if status in (408, 425, 429) or status >= 500:
        return _Retry(f"HTTP {status}", retry_after(response.headers.get("retry-after", "")))
    if status not in (200, 206) or response.headers.get("content-encoding", "identity") != "identity":
        what = f"HTTP {status}" if status not in (200, 206) else "a compressed answer that was not asked for"
        return Fault(f"{url}: {what}", "check --mirror; without one, the set may have moved: look at its page")
    if status == 206:
        start = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
        if start is None or int(start[1]) != sink.at:
            sink.restart()
            return _Retry("the server sends another range than was asked for")
    elif sink.at:
        sink.restart()  # ranges are not served, or the file is another one by now
    return None


def _copy(site: Site, response: httpx.Response, sink: _Sink) -> None:
    for block in response.iter_raw():  # blocks of a fixed size would be held back, and lost when it breaks off
        if site.stop.is_set():
            raise Stopped
        sink.write(block)
        site.count(len(block))


@contextmanager
def _open(site: Site, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """The answer to a GET, after redirects; those lead to https only, or from this machine to this machine."""
    for _ in range(6):
        response = site.client.send(site.client.build_request("GET", url, headers=headers), stream=True)
        try:
            if response.status_code not in REDIRECTS or "location" not in response.headers:
                yield response
                return
        finally:
            response.close()
        following = urljoin(url, response.headers["location"])
        if urlsplit(following).scheme != "https" and not (is_loopback(url) and is_loopback(following)):
            raise MedReportError(f"{url}: redirects to an address that is not https", "give another --mirror")
        url = following
    raise MedReportError(f"{url}: redirects without end", "give another --mirror")


def _strong_tag(response: httpx.Response) -> str | None:
    tag = response.headers.get("etag", "")
    return tag if tag.startswith('"') else None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line that names the file."""
    try:
        yield
    except OSError as error:
        raise MedReportError(f"{target}: cannot be written ({error.strerror or error})",
                             f"free some space, or choose a --root you may write to, then {RESUME}") from None


def part_of(target: Path) -> Path:
    """Where a file lies while it is not known to be right."""
    return target.with_name(target.name + ".part")


def new_digest(algorithm: str) -> Any:
    """A hash object; MD5 is what Zenodo publishes, and is no protection against forgery."""
    return hashlib.new(algorithm, usedforsecurity=False)


def digest_of(path: Path, algorithm: str) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: new_digest(algorithm)).hexdigest()
