"""The HTML pages that medreport writes: one look, nothing loaded, no scripts."""

from __future__ import annotations

from html import escape

from emgecg_cli.core.pages.printable import steerless
from emgecg_cli.core.pages.style import STYLE

DISCLAIMER = ("medreport is a research tool and not a medical device. Nothing on this page may be used to diagnose or "
              "treat anyone.")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def document(title: str, body: str) -> str:
    """A whole page around `body`, which is HTML; `title` is text. Whatever texts are in it, none steers the browser."""
    return steerless('<!DOCTYPE html><html lang=en><head><meta charset=utf-8>'
            '<meta name=viewport content="width=device-width, initial-scale=1">'
            f'<meta http-equiv=Content-Security-Policy content="{POLICY}">'
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
            f"<header><h1>{escape(title)}</h1><p class=warning>{escape(DISCLAIMER)}</p></header>"
            f"<main>{body}</main></body></html>\n")
