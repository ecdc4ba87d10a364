"""Keys, which come from the environment and are written nowhere, and addresses, which are written down."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from emgecg_cli.core.endpoints import is_http_address
from emgecg_cli.core.errors import MedReportError

KEY_VARIABLE = "OPENAI_API_KEY"
_SHORTEST = 8  # a stand-in for a key ("none", "x") is shorter, and may be a word of any text


def read_key(base_url: str = "") -> str:
    """The key in the environment: in OPENAI_API_KEY_HOST for an endpoint at that host, if it is there
    (OPENAI_API_KEY_API_EXAMPLE_COM of https://api.example.com/v1; a hyphen is two underscores), else in OPENAI_API_KEY.

    Raises MedReportError, which does not show it, when there is none or it cannot be one.
    """
    host = re.sub(r"[^A-Z0-9_]", "__", (urlsplit(base_url).hostname or "").upper().replace(".", "_"))
    own = f"{KEY_VARIABLE}_{host}"
    variable = own if host and os.environ.get(own, "").strip() else KEY_VARIABLE
    key = os.environ.get(variable, "").strip()
    if not key:
        raise MedReportError(f"{KEY_VARIABLE} is not set", f"export {KEY_VARIABLE}=… (any word where none is needed)")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise MedReportError(f"{variable} holds characters that no key has", "copy the key again")
    return key


def check_base_url(base_url: str) -> None:
    """Refuse what is no http(s) address, and one that carries a key or a password, since addresses are written down."""
    if not is_http_address(base_url):
        raise MedReportError("the base URL is not an http(s) address", "it looks like https://api.openai.com/v1")
    parts = urlsplit(base_url)
    if parts.username is not None or parts.query or parts.fragment:
        raise MedReportError("the base URL carries a user name or a query", f"the key belongs in {KEY_VARIABLE}")


def quote(text: str, key: str) -> str:
    """What a server said, as a part of one line, without the key."""
    return " ".join("".join(c if c.isprintable() else " " for c in without(text, key)).split())[:300]


def without(text: str, key: str) -> str:
    """A text without the key, which some servers echo."""
    return text.replace(key, "***") if len(key) >= _SHORTEST else text
