"""Instructions: a pool of prompts that ask for a report, and one of them drawn for each record of a store.

MEIT writes 32 prompts by hand, has them rephrased to a pool of 128, 256 or 512, and draws one per recording
(arXiv 2403.04945). A rephraser is a function, named in `names.REPHRASERS`, and one line there makes a new one known:

    rephrase(seed_prompts, size, *, seed, progress=None) -> list of `size` prompts, the seed prompts first

One that asks a language model takes `client`, an `llm.LLMClient`, as well, and it is the only kind that gets one.

EMG and nerve-conduction tables are their own prompts (`table_prompts`): the layout EMGLLM published, nothing drawn.
"""

from emgecg_cli.core.instructions.build import BuildResult, Instructions, build_instructions, open_instructions
from emgecg_cli.core.instructions.validate import check_prompt

__all__ = ["BuildResult", "Instructions", "build_instructions", "check_prompt", "open_instructions"]
