"""Fetch one file over HTTP: from where it stopped, as often as it takes, and never under its name before it is right.

Ranges and If-Range are RFC 9110, sections 13.1.5 and 14. A resumed file is hashed from its first byte, so that a file
that changed on the server between two runs is found out at the end.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import httpx

from emgecg_cli import __version__
from emgecg_cli.core.bounded_http import SLOWEST, Limits, bound, within
from emgecg_cli.core.downloads.places import Sink, disk_errors, part_of
from emgecg_cli.core.endpoints import is_loopback, retry_after
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import RESUME

REDIRECTS = (301, 302, 303, 307, 308)
FRAMING = 1 << 20  # bytes of headers and the like beside a body


@dataclass(frozen=True)
class Patience:
    """How often a server is asked again without progress, and how long to wait, in seconds.

    An answer may take `grace` seconds, and beyond that as long as its bytes take at `slowest` bytes a second.
    """

    attempts: int = 6
    backoff: float = 1.0
    max_wait: float = 60.0
    timeout: float = 30.0
    grace: float = 60.0
    slowest: float = SLOWEST


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
    """Why one file could not be fetched while others may be, in one line, and what to do."""

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
    too_slow: bool = False


class Stopped(Exception):
    """Another thread has given up, or the user has."""


@contextmanager
def connect(base: str, connections: int, patience: Patience) -> Iterator[Site]:
    """A client for one download; a server on this machine is never reached through a proxy."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    with httpx.Client(trust_env=not is_loopback(base), timeout=patience.timeout, limits=limits, follow_redirects=False,
                      headers={"User-Agent": f"medreport/{__version__}", "Accept-Encoding": "identity"}) as client:
        yield Site(base, bound(client), patience)


def fetch(site: Site, address: str, target: Path, checksum: str, most: int) -> Fault | None:
    """Fetch a file of at most `most` bytes whose checksum ("sha256:…", "md5:…") is known; what lies at `target` now is
    known to be another.

    What was fetched before the process was killed lies in TARGET.part and is continued. After a wrong checksum there is
    one more try from the first byte. Raises MedReportError when the disk or the server fails for all files.
    """
    algorithm, _, expected = checksum.partition(":")
    part, digest = part_of(target), ""
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.replace(part)  # cut short by another program, perhaps; nothing unverified keeps the name
        for _ in range(2):
            received = receive(site, address, part, algorithm, most)
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


def receive(site: Site, address: str, part: Path, algorithm: str, most: int, *, checked: bool = True,
            known_tag: str | None = None) -> Received | Fault:
    """Fetch a file into `part`, after the bytes that are there, until it is whole; no checksum is compared. One that
    is longer than `most` bytes, or arrives too slowly, is given up.

    A file that is not `checked` against one later is taken only from a server that says where it ends, and
    resumed only with an ETag. `known_tag` asks for the file only if it is another than the one with this ETag.
    """
    outcome: Received | Fault | None = None
    try:
        with part.open("a+b") as stream:
            outcome = _receive(site, address, Sink(stream, algorithm, most), checked, known_tag)
    finally:
        if not isinstance(outcome, Received) and part.exists() and not part.stat().st_size:
            part.unlink()
    return outcome


def _receive(site: Site, address: str, sink: Sink, checked: bool, known_tag: str | None) -> Received | Fault:
    furthest, failures, tag = sink.at, 0, known_tag
    while True:
        if not checked and not tag:
            sink.restart()
        outcome, tag = _attempt(site, address, sink, tag, known_tag is not None and sink.at == 0)
        if isinstance(outcome, Received) and not (checked or outcome.ends or outcome.unchanged):
            return Fault(f"{site.url(address)}: the server does not say how long it is", "give another --mirror")
        if not isinstance(outcome, _Retry):
            return outcome
        if sink.at > furthest and not outcome.too_slow:
            furthest, failures = sink.at, 0
        failures += 1
        # A server that has never answered is more likely mistyped, or the network down, than busy.
        if failures >= (site.patience.attempts if site.reached else min(2, site.patience.attempts)):
            raise MedReportError(f"{site.url(address)}: nothing came in {failures} attempts; the last: "
                                 f"{outcome.reason}", f"check the network and the address, then {RESUME}")
        asked = site.patience.backoff * 2 ** (failures - 1) if outcome.wait is None else outcome.wait
        if site.stop.wait(min(site.patience.max_wait, asked)):
            raise Stopped


def _attempt(site: Site, address: str, sink: Sink, tag: str | None,
             if_changed: bool) -> tuple[Received | Fault | _Retry, str | None]:
    """Ask once, from where the sink stands; also the ETag to resume with."""
    headers = {"If-None-Match": tag} if if_changed and tag else {}
    if sink.at:
        headers["Range"] = f"bytes={sink.at}-"
        if tag:
            headers["If-Range"] = tag
    url = site.url(address)
    limits = Limits(site.patience.grace, 2 * (sink.most - sink.at) + FRAMING, site.patience.slowest)
    try:
        with within(limits), _open(site, url, headers) as response:
            site.reached = True
            outcome = _judge(response, sink, url)
            if outcome is not None:
                return outcome, tag
            tag = _strong_tag(response)
            if not _copy(site, response, sink):
                return Fault(f"{url}: more than {sink.most} bytes", "it cannot be the file that is meant: give another "
                                                                    "--mirror"), tag
            ends = "content-length" in response.headers or "transfer-encoding" in response.headers
            return Received(sink.digest.hexdigest(), tag, ends), tag
    except httpx.InvalidURL:
        return Fault(f"{url}: not an address", "check --mirror"), tag
    except httpx.TimeoutException as error:
        if limits.left <= 0:
            return _Retry(_one_line(error), too_slow=True), tag
        return _Retry(f"silence for {site.patience.timeout:g} s"), tag
    except httpx.HTTPError as error:
        return _Retry(_one_line(error)), tag


def _judge(response: httpx.Response, sink: Sink, url: str) -> Received | Fault | _Retry | None:
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


def _copy(site: Site, response: httpx.Response, sink: Sink) -> bool:
    """Write a body behind what is there; returns whether there was room for all of it."""
    for block in response.iter_raw():  # blocks of a fixed size would be held back, and lost when it breaks off
        if site.stop.is_set():
            raise Stopped
        if not sink.takes(block):
            return False
        site.count(len(block))
    return True


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
