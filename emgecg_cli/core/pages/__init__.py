"""The HTML pages that medreport writes: one look, light and dark, nothing loaded, no scripts but a page's own."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from html import escape

from emgecg_cli.core.pages.printable import steerless
from emgecg_cli.core.pages.style import STYLE

DISCLAIMER = ("medreport is a research tool and not a medical device. Nothing on this page may be used to diagnose or "
              "treat anyone.")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def document(title: str, body: str, *, script: str = "", style: str = "") -> str:
    """A whole page around `body`, which is HTML; `title` is text. Whatever texts are in it, none steers the browser.

    `script` runs at the end of the page, and no other: the policy names it by its hash. `style` is added to that of
    all pages.
    """
    allowed, running = "", ""
    if script:
        digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed, running = f"; script-src 'sha256-{digest}'", f"<script>{script}</script>"
    return steerless('<!DOCTYPE html><html lang=en><head><meta charset=utf-8>'
            '<meta name=viewport content="width=device-width, initial-scale=1">'
            '<meta name=color-scheme content="light dark">'
            f'<meta http-equiv=Content-Security-Policy content="{POLICY}{allowed}">'
            f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body>"
            f"<header><h1>{escape(title)}</h1><p class=warning>{escape(DISCLAIMER)}</p></header>"
            f"<main>{body}</main>{running}</body></html>\n")
