"""A recording in, the draft of its report out: written by a run, measured, held against its own waveform, drawn.

`draft_reports` is the one call; a draft is a row of JSON that pages and PDFs are made from, so that what is written
once is not written again.
"""

from emgecg_cli.core.drafting.draft import NOT_A_DIAGNOSIS, Draft
from emgecg_cli.core.drafting.run import Asked, Drafted, draft_reports

__all__ = ["NOT_A_DIAGNOSIS", "Asked", "Draft", "Drafted", "draft_reports"]
