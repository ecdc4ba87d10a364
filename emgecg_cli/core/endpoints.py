"""Addresses and headers of HTTP that downloads and language models have in common."""

from __future__ import annotations

import email.utils
import ipaddress
import time
from urllib.parse import urlsplit


def is_http_address(url: str) -> bool:
    """Whether a text is an http(s) address with a host, in one printable word."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and url.isprintable() and " " not in url


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def retry_after(value: str) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or a date (RFC 9110); None when it says nothing."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None
