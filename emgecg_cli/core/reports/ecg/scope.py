"""The scope of uncertainty, negation and history in a sentence: the statement next to a cue, and those listed with it.

A cue reaches the nearest statement on its side, a few words away at most, and from there goes on over lists: over "or"
always, over "and" where a denial or a history goes on or both belong to one family. It never crosses a comma that is
no list, a word of the file's [stop], or another statement.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from emgecg_cli.core.reports.ecg.rules import REACHING, Rules

_NEAR, _NEAR_AFTER = 5, 4   # so many words may stand between a cue and its statement
_APPOSED = 3                # and so many between two words for one statement (AV block II, type Mobitz)
_CUES = REACHING[:6]
_RHYTHM = "SR"              # after a history, it is what there is now
_OWN_WORDS = "normal"       # "no abnormality" says that a tracing is normal: the denial in it is its own


@dataclass
class Place:
    """One place of a sentence that says a statement; `status` is what its own words say, and what cues make of it."""

    start: int
    end: int
    code: str
    family: str
    status: str = "present"


@dataclass
class _Island:
    """Places that overlap: said with the same words, so that a cue reaches all of them."""

    start: int
    end: int
    places: list[Place]

    @property
    def codes(self) -> set[str]:
        return {place.code for place in self.places}

    @property
    def families(self) -> set[str]:
        return {place.family for place in self.places}


def weigh(sentence: str, places: list[Place], rules: Rules) -> None:
    """Set the status of every place by the cues of the sentence: absent, possible, past (not of this recording)."""
    islands = _islands(places)
    links = [_link(sentence, one, two, rules) for one, two in pairwise(islands)]
    reached: dict[int, set[str]] = {}
    inside: list[tuple[Place, str]] = []
    for kinds, start, end in _cues(sentence, rules):
        around = [place for place in places if place.start <= start and end <= place.end]
        inside += [(place, kinds[0].split()[0]) for place in around
                   if place.start < start and place.family != _OWN_WORDS]
        if around:
            continue
        for kind in kinds:
            if kind.endswith("after") and len(kinds) > 1 and _begins(sentence, start, end):
                continue
            index = _nearest(sentence, start, end, kind, islands, rules)
            if index is not None:
                for one in _listed(index, kind, islands, links, sentence, rules):
                    reached.setdefault(one, set()).add(kind.split()[0])
                break
    _hand_on(sentence, islands, reached, rules)
    _alternatives(sentence, islands, links, rules)
    for index, island in enumerate(islands):
        for place in island.places:
            own = {kind for one, kind in inside if one is place}
            place.status = _settled(place.status, own | reached.get(index, set()))


def _settled(status: str, reached: set[str]) -> str:
    if "absent" in reached:
        return "absent" if status != "absent" else "present"
    if "past" in reached:
        return "past"
    return "possible" if "possible" in reached and status == "present" else status


def _islands(places: list[Place]) -> list[_Island]:
    islands: list[_Island] = []
    for place in sorted(places, key=lambda place: (place.start, place.end)):
        if islands and place.start < islands[-1].end:
            islands[-1].places.append(place)
            islands[-1].end = max(islands[-1].end, place.end)
        else:
            islands.append(_Island(place.start, place.end, [place]))
    return islands


def _link(sentence: str, one: _Island, two: _Island, rules: Rules) -> str:
    """How two neighbours are listed: "or", "and", ",", "one word" (ischaemic ST changes) or "" for not at all."""
    gap = sentence[one.end:two.start]
    words = gap.split()
    if not words:
        return "one word"
    if len(words) > _NEAR or rules.cues["stop"].search(gap) or any(rules.cues[cue].search(gap) for cue in _CUES):
        return ""
    if rules.cues["or"].search(gap) or (len(words) <= _APPOSED and one.codes & two.codes):
        return "or"
    if rules.cues["and"].search(gap):
        return "and"
    return "," if words[0] == "," and len(words) <= 3 else ""


def _hand_on(sentence: str, islands: list[_Island], reached: dict[int, set[str]], rules: Rules) -> None:
    """What is denied suggests nothing ("no Q waves to suggest infarction"): the next statement is denied as well."""
    for index, (one, two) in enumerate(pairwise(islands)):
        gap = sentence[one.end:two.start]
        if "absent" in reached.get(index, ()) and len(gap.split()) <= _NEAR + _APPOSED and \
                rules.cues["passing"].search(gap) and "," not in gap:
            reached[index + 1] = reached.get(index + 1, set()) - {"possible"} | {"absent"}


def _alternatives(sentence: str, islands: list[_Island], links: list[str], rules: Rules) -> None:
    """Of two that are given as alternatives neither is more than possible."""
    for island in islands:
        if len(island.codes) > 1 and rules.cues["or"].search(sentence[island.start:island.end]):
            for place in island.places:
                place.status = "possible" if place.status == "present" else place.status
    for index, link in enumerate(links):
        one, two = islands[index], islands[index + 1]
        if link == "or" and not one.codes & two.codes:
            for place in (*one.places, *two.places):
                if place.status == "present":
                    place.status = "possible"


def _cues(sentence: str, rules: Rules) -> list[tuple[list[str], int, int]]:
    """The cues of a sentence with the ways each may be read; of those that overlap only the longest counts."""
    found: dict[tuple[int, int], list[str]] = {}
    for number in rules.cue_sieve.candidates(sentence):
        kind = REACHING[number]
        for cue in rules.cues[kind].finditer(sentence):
            start = cue.end() - len(cue[0].lstrip())
            found.setdefault((start, cue.end()), []).append(kind)
    return [(kinds, start, end) for (start, end), kinds in found.items() if "neutral" not in kinds
            and not any(one[0] <= start and end <= one[1] and one[1] - one[0] > end - start for one in found)]


def _nearest(sentence: str, start: int, end: int, kind: str, islands: list[_Island], rules: Rules) -> int | None:
    """The island a cue speaks of, None where it speaks of something else."""
    if kind.endswith("before"):
        index = next((i for i, island in enumerate(islands) if island.start >= end), None)
        gap = "" if index is None else sentence[end:islands[index].start]
        # a list may begin with what is no statement: "no atrial enlargement, LVH, or conduction delay"
        follows = "" if index is None else sentence[islands[index].end:].lstrip(" ,")
        commas, near = _in_list(gap, rules) or rules.cues["or"].match(follows) is not None, _NEAR
    else:
        index = next((i for i, island in reversed(list(enumerate(islands))) if island.end <= start), None)
        gap = "" if index is None else sentence[islands[index].end:start]
        # "ST elevation: probable injury" doubts what follows; "LVH: probable" what goes before
        commas, near = ":" not in gap or not sentence[end:].strip(" .,"), _NEAR_AFTER
    words = [word for word in re.split(r"[\s,]+", gap) if word]
    if index is None or len(words) > near or rules.cues["stop"].search(gap) or not commas:
        return None
    return index


def _begins(sentence: str, start: int, end: int) -> bool:
    """Whether a comma stands before a cue and words follow it: "sinus rhythm, not tachycardic" denies what follows."""
    return sentence[:start].rstrip().endswith(",") and re.match(r" \w", sentence[end:]) is not None


def _in_list(gap: str, rules: Rules) -> bool:
    """Whether commas of a gap part a list of adjectives ("no acute, subacute or old infarction")."""
    return "," not in gap or rules.cues["or"].search(gap) is not None or rules.cues["and"].search(gap) is not None


def _listed(index: int, kind: str, islands: list[_Island], links: list[str], sentence: str, rules: Rules) -> list[int]:
    """The island and those that are listed with it, forwards from a cue before and backwards from one after."""
    step = 1 if kind.endswith("before") else -1
    found = [index]
    commas: list[int] = []
    while 0 <= index + step < len(islands):
        link = links[index if step == 1 else index - 1]
        together = islands[index].families & islands[index + step].families
        denied = kind == "absent before" and link in ("and", "one word")
        past = kind == "past before" and link == "and" and _RHYTHM not in islands[index + step].codes
        if link == "or" or denied or past or (link == "and" and together):
            found += [*commas, index + step]
            commas = []
        elif link == ",":
            commas.append(index + step)
        else:
            break
        index += step
    # The last member may be something that is no statement: "no LVH, ischaemia or infarction".
    if commas and step == 1 and rules.cues["or"].match(sentence[islands[commas[-1]].end:].lstrip(" ,")):
        found += commas
    return found
