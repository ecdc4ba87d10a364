"""The interpretation of each record, by rules or by a language model, checked; what is done is kept as it comes."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from emgecg_cli.core.artifacts import QuarantineRow, to_json
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.instructions.grounded.checks import MOST_WORDS, Fault, faults_of
from emgecg_cli.core.instructions.grounded.grounds import Grounds, grounds_of
from emgecg_cli.core.instructions.grounded.questions import again, request
from emgecg_cli.core.instructions.grounded.rules_writer import write_by_rules
from emgecg_cli.core.llm import LLMClient, RequestRefused
from emgecg_cli.core.store import Store

TRIES = {"llm": 3, "rules": 8}
REFUSED = "refused by the endpoint"
_TOLD = 600  # characters of what is wrong, as a model is told it
_LABEL = re.compile(r"^\W*(?:response|interpretation)\W*:\s*", re.I)


@dataclass(frozen=True)
class Outcome:
    """What came of one record: its interpretation, None where none was kept or the record has no report; and of every
    answer that was rejected the faults."""

    record_id: str
    text: str | None = None
    reported: bool = True
    rejected: list[list[Fault]] = field(default_factory=list)

    @property
    def set_aside(self) -> bool:
        """Whether a record with a report has no interpretation."""
        return self.reported and self.text is None

    def quarantined(self) -> QuarantineRow:
        """The record as it is set aside, with the faults of its last answer."""
        last = self.rejected[-1]
        return QuarantineRow(self.record_id, last[0].reason, "; ".join(fault.detail for fault in last), "")


Write = Callable[[Grounds], Outcome]


def write_all(store: Store, write: Write, client: LLMClient | None, kept: Path) -> Iterator[Outcome]:
    """The outcome of every record in store order. Those in the file `kept` are taken from there, and every other one
    is appended to it, so that a killed run goes on where it was."""
    names = store.column("record_id").to_list()
    done = _read(kept, names)
    yield from done
    evidence = Evidence(store)
    has = store.column("report").is_not_null().to_list()
    grounds: Iterable[Grounds | str] = (grounds_of(evidence, i) if has[i] else names[i]
                                        for i in range(len(done), len(store)))
    ask = partial(_outcome, write)
    with kept.open("ab") as stream:
        for outcome in client.each(ask, grounds) if client else map(ask, grounds):
            stream.write((to_json(asdict(outcome)) + "\n").encode("utf-8", "surrogatepass"))
            stream.flush()
            yield outcome


def by_rules(seed: int) -> Write:
    """Writes without a model; a wording that does not pass the checks is taken for another one."""
    def write(grounds: Grounds) -> Outcome:
        rejected: list[list[Fault]] = []
        for attempt in range(TRIES["rules"]):
            text = write_by_rules(grounds, seed, attempt)
            faults = faults_of(text, grounds)
            if not faults:
                return Outcome(grounds.record_id, text, rejected=rejected)
            rejected.append(faults)
        return Outcome(grounds.record_id, rejected=rejected)
    return write


def by_model(client: LLMClient) -> Write:
    """Asks a language model, and where its answer does not pass the checks asks again and says why."""
    def write(grounds: Grounds) -> Outcome:
        rejected: list[list[Fault]] = []
        messages = list(request(json.dumps(grounds.report, ensure_ascii=False), grounds.text, MOST_WORDS))
        for _ in range(TRIES["llm"]):
            try:
                answer = client.complete(messages, temperature=0)
            except RequestRefused as error:
                return Outcome(grounds.record_id, rejected=[*rejected, [Fault(REFUSED, error.message)]])
            text = unwrap(answer)
            faults = faults_of(text, grounds)
            if not faults:
                return Outcome(grounds.record_id, text, rejected=rejected)
            rejected.append(faults)
            told = "; ".join(fault.told() for fault in faults)[:_TOLD]
            messages = [*messages, *map(dict, again(answer, told))]
        return Outcome(grounds.record_id, rejected=rejected)
    return write


def unwrap(answer: str) -> str:
    """The text of an answer that is labelled "Response:", or a JSON object with that key; blanks and lines as one."""
    text = answer.strip()
    if text.startswith("{"):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        found = [value for key, value in values.items() if key.lower() == "response" and isinstance(value, str)] \
            if isinstance(values, dict) else []
        text = found[0] if found else text
    text = _LABEL.sub("", text).strip().strip('"\u201c\u201d').strip()
    return text if "\n-" in text or "\n*" in text else " ".join(text.split())


def counted(outcomes: Sequence[list[list[Fault]]]) -> dict[str, int]:
    """How many rejected answers had a fault of each kind, the most frequent first."""
    counts = Counter(reason for rejected in outcomes for faults in rejected
                     for reason in dict.fromkeys(fault.reason for fault in faults))
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _outcome(write: Write, grounds: Grounds | str) -> Outcome:
    return Outcome(grounds, reported=False) if isinstance(grounds, str) else write(grounds)


def _read(kept: Path, names: Sequence[str]) -> list[Outcome]:
    """The outcomes that a killed run left, in store order; a torn last line is cut off."""
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        return []
    data = kept.read_bytes()
    whole = data.rfind(b"\n") + 1
    os.truncate(kept, whole)
    found = []
    for number, line in enumerate(data[:whole].splitlines()):
        try:
            row = json.loads(line)
            rejected = [[Fault(**fault) for fault in faults] for faults in row["rejected"]]
            outcome = Outcome(row["record_id"], row["text"], row["reported"], rejected)
        except (ValueError, RecursionError, KeyError, TypeError):
            outcome = Outcome("")
        if number >= len(names) or outcome.record_id != names[number]:
            raise MedReportError(f"{kept}, line {number + 1}: not what this command wrote there",
                                 "remove the file; answers of a language model are kept elsewhere")
        found.append(outcome)
    return found
