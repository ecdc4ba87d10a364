"""The one client for language models behind an OpenAI-compatible endpoint: concurrent, cached, resumable, counted.

Used wherever a step asks a model for text. Nothing is sent before the first `complete` that the cache cannot answer.
"""

from emgecg_cli.core.llm.client import LLMClient, RequestRefused
from emgecg_cli.core.llm.keys import KEY_VARIABLE, check_base_url, read_key
from emgecg_cli.core.llm.usage import Prices, Usage, spent

__all__ = ["KEY_VARIABLE", "LLMClient", "Prices", "RequestRefused", "Usage", "check_base_url", "read_key", "spent"]
