"""The data card of a store: what is in it, what was left out, and what in it needs attention."""

from __future__ import annotations

from emgecg_cli.core.store.card.facts import CardFacts, facts_for_manifest, gather_facts
from emgecg_cli.core.store.card.markdown import card_markdown
from emgecg_cli.core.store.card.page import card_page

__all__ = ["CardFacts", "card_markdown", "card_page", "facts_for_manifest", "gather_facts"]
