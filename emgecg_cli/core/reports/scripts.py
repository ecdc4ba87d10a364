"""Scripts: which one a text is written in, which of them put no blanks between words, and what counts as a letter.

A script is known by the names that Unicode gives to its letters. One letter has one code here: `same_letters` undoes
what is a second code of the same letter or digit, and leaves alone what means something else (m² is not m2).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

# Scripts without blanks between words, how the names of their characters begin, and the language most written in them.
_WITHOUT_BLANKS = {
    "Han": ("CJK ", "zh"), "Kana": ("HIRAGANA ", "ja"), "Thai": ("THAI ", "th"), "Lao": ("LAO ", "lo"),
    "Khmer": ("KHMER ", "km"), "Myanmar": ("MYANMAR ", "my"), "Tibetan": ("TIBETAN ", "bo"), "Yi": ("YI ", "ii"),
    "Tai Le": ("TAI LE ", "tdd"), "New Tai Lue": ("NEW TAI LUE ", "khb"), "Tai Tham": ("TAI THAM ", "nod"),
    "Tai Viet": ("TAI VIET ", "blt"), "Ahom": ("AHOM ", "aho"), "Javanese": ("JAVANESE ", "jv"),
    "Balinese": ("BALINESE ", "ban"), "Tangut": ("TANGUT ", "txg"), "Nushu": ("NUSHU ", "zhx"),
}
JAPANESE, GREEK, LATIN = "Japanese", "Greek", "Latin"
_PREFIXES = {prefix: script for script, (prefix, _) in _WITHOUT_BLANKS.items()} | {
    "KATAKANA": "Kana", "HALFWIDTH KATAKANA": "Kana", "HENTAIGANA ": "Kana", "IDEOGRAPHIC ": "Han", "BOPOMOFO ": "Han",
    "KANGXI ": "Han", "FULLWIDTH LATIN ": LATIN, "HALFWIDTH HANGUL ": "Hangul", "MICRO SIGN": "",
    "MATHEMATICAL ": "", "MODIFIER LETTER ": "", "COMBINING ": "", "DOUBLE-STRUCK ": "", "SCRIPT ": "",
    "BLACK-LETTER ": "", "FEMININE ": "", "MASCULINE ": "", "SUPERSCRIPT ": "", "VARIATION ": "",
}
SPACELESS = frozenset({*_WITHOUT_BLANKS, JAPANESE} - {"Kana"})
# The language of a text of which nothing but the script is known; a script of several languages names none.
LANGUAGE_OF = {script: language for script, (_, language) in _WITHOUT_BLANKS.items() if script != "Kana"} | {
    JAPANESE: "ja", "Hangul": "ko", GREEK: "el", "Hebrew": "he", "Georgian": "ka", "Armenian": "hy", "Tamil": "ta",
    "Telugu": "te", "Kannada": "kn", "Malayalam": "ml", "Gujarati": "gu", "Gurmukhi": "pa", "Sinhala": "si"}
# A text is in a script without blanks if so much of it is; with so much kana among its characters it is Japanese.
_SHARE, _KANA = 0.3, 0.05
_AFTER_LATIN_1 = "\u0100"
_BEYOND_LATIN_1 = re.compile("[^\x00-\xff]")
_LATIN_1_LETTER = re.compile("[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]")
_GREEK_WORD = re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]{2,}")

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_WIDE_MARK = re.compile(r"[\u3000-\u303f\uff01-\uff0f\uff1a-\uff20]")
# Invisible, or a stretch of the line: soft hyphen, joiners and other zero-width characters, marks of the direction,
# selectors of a variant, tatweel.
_INVISIBLE = re.compile("[\u00ad\u034f\u0640\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
                        "\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]+")
_SAME = ("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>", "<compat>", "<font>")
# A point between two digits, full-width or Arabic, and the Arabic mark between thousands.
_POINTS = ((re.compile(r"(?<=\d)[\uff0e\u066b](?=\d)"), "."), (re.compile(r"(?<=\d)\u066c(?=\d)"), ","))


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """The script of a letter or mark, "" for what several scripts share."""
    if not is_letter(character):
        return ""
    name = unicodedata.name(character, "")
    for prefix, script in _PREFIXES.items():
        if name.startswith(prefix):
            return script
    return name.partition(" ")[0].capitalize()


def is_letter(character: str) -> bool:
    """Whether a character is a letter, or a mark that belongs to one (Unicode categories L and M)."""
    return unicodedata.category(character)[0] in "LM"


def script_of(text: str) -> str | None:
    """The script a text is written in ("Latin", "Han", "Japanese", "Thai", "Cyrillic", …); None without letters.

    One without blanks between words counts from 30 % of the characters on, since reports in it are full of Latin
    abbreviations and numbers; else the script of most letters. Single Greek letters are symbols (µV, δ wave).
    """
    if text.isascii() or not _BEYOND_LATIN_1.search(text):
        return LATIN if _LATIN_1_LETTER.search(text) else None
    return script_beyond_latin_1(text)


@lru_cache(maxsize=1 << 16)
def script_beyond_latin_1(text: str) -> str | None:
    """`script_of` a text that Latin-1 does not suffice for."""
    written = Counter(character for character in text if not character.isspace())
    letters: Counter[str] = Counter()
    for character, count in written.items():
        if script := _script(character):
            letters[script] += count
    letters[GREEK] = sum(map(len, _GREEK_WORD.findall(text)))
    kana, han = letters.pop("Kana", 0), letters.pop("Han", 0)
    letters[JAPANESE if kana > _KANA * (kana + han) else "Han"] = kana + han
    dense = max(sorted(SPACELESS), key=lambda script: letters[script])
    if letters[dense] > _SHARE * written.total():
        return dense
    first = max(sorted(letters), key=lambda script: letters[script])
    return first if letters[first] else None


def same_letters(text: str) -> str:
    """A text in which each letter and digit has one code, in Unicode NFC, without invisible characters.

    The micro sign is the Greek mu, full-width letters and digits are plain ones, ligatures and presentation forms
    their letters, Roman numerals letters, digits of any script those of ASCII, units in one character spelt out.
    """
    if text.isascii():
        return text
    if max(text) < _AFTER_LATIN_1:
        return text.replace("µ", "\u03bc").replace("\u00ad", "")
    text = _INVISIBLE.sub("", text).translate(_second_codes())
    for point, plain in _POINTS:
        text = point.sub(plain, text)
    return unicodedata.normalize("NFC", text)


@lru_cache(maxsize=1)
def _second_codes() -> dict[int, str]:
    """Code point -> the letters or the digit it is another code of."""
    found = {}
    for code in (*range(0x80, 0x3131), *range(0x318F, 0xAC00), *range(0xD7B0, 0xD800), *range(0xF900, 0x20000)):
        character = chr(code)
        category, parts = unicodedata.category(character), unicodedata.decomposition(character).split()
        if category == "Nd":
            found[code] = str(unicodedata.decimal(character))
        elif len(parts) > 1 and "0020" not in parts:
            plain = "".join(chr(int(part, 16)) for part in parts[1:])
            unit = parts[0] == "<square>" and 0x3371 <= code <= 0x33DF and not set(plain) & {".", "\u2044"}
            if unit or (parts[0] in _SAME and (category[0] == "L" or category == "Nl")):
                found[code] = plain
    return found


def _class(characters: Iterable[int]) -> str:
    """The inside of a character class of an expression that holds these code points, in ascending order."""
    ranges: list[list[int]] = []
    for code in characters:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


@lru_cache(maxsize=1)
def marks() -> str:
    """All marks (category M), as the inside of a character class."""
    return _class(code for code in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))
                  if unicodedata.category(chr(code))[0] == "M")


@lru_cache(maxsize=1)
def word() -> re.Pattern[str]:
    """A word: letters and digits with their marks, of any script."""
    return re.compile(rf"(?:[^\W_]+|[{marks()}]+)+")


@lru_cache(maxsize=1)
def dense_letters() -> str:
    """The letters of scripts without blanks between words, as the inside of a character class."""
    low = [code for code in range(0xE00, 0x20000) if unicodedata.category(chr(code))[0] == "L"
           and _script(chr(code)) in _WITHOUT_BLANKS]
    return _class([*low, *range(0x20000, 0x323B0)])


@lru_cache(maxsize=1)
def _dense() -> re.Pattern[str]:
    return re.compile(rf"[{dense_letters()}][{marks()}]*")


def count_words(text: str) -> int:
    """Words between blanks, of which a character of a script without blanks is one by itself."""
    if text.isascii():
        return len(text.split())
    plain = _HAN.sub(" x ", _WIDE_MARK.sub(" ", text))
    return len((_dense().sub(" x ", plain) if script_of(text) in SPACELESS else plain).split())


@lru_cache(maxsize=1)
def dense_signs() -> str:
    """The punctuation of scripts without blanks between words, as the inside of a character class."""
    prefixes = tuple(prefix for prefix, script in _PREFIXES.items() if script in _WITHOUT_BLANKS)
    return _class(code for code in range(0xE00, 0x20000) if unicodedata.category(chr(code))[0] in "PS"
                  and unicodedata.name(chr(code), "").startswith(prefixes))
