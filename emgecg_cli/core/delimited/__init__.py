"""CSV files as people have them, with any encoding, separator, decimal mark and heading.

`dialect` finds out how a file is written and opens it, `numerals` reads numbers with a comma or a point. All
readers of CSV, whole or in pieces, go through here.
"""

from emgecg_cli.core.delimited.dialect import (
    Dialect,
    detect,
    dialect_details,
    open_text,
    read_rows,
    utf8_content,
)
from emgecg_cli.core.delimited.headings import match_headings, shown

__all__ = ["Dialect", "detect", "dialect_details", "match_headings", "open_text", "read_rows", "shown", "utf8_content"]
