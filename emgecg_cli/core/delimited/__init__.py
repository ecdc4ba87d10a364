"""CSV files as people have them: which letters, which separator, which decimal mark, which heading.

`dialect` finds out how a file is written and opens it, `numerals` reads numbers with a comma or a point. Whoever reads
a CSV, whole or in pieces, asks here first.
"""

from emgecg_cli.core.delimited.dialect import (
    Dialect,
    detect,
    open_text,
    read_rows,
    told_of,
    utf8_content,
)
from emgecg_cli.core.delimited.headings import match_headings, shown

__all__ = ["Dialect", "detect", "match_headings", "open_text", "read_rows", "shown", "told_of", "utf8_content"]
