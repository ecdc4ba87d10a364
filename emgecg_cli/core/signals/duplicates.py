"""Equal and nearly equal recordings among many, from the hashes and fingerprints of `signals.fingerprint`.

Near pairs are found by multi-index hashing (Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-
index hashing", CVPR 2012): the 128 bits are cut into bands, and two fingerprints that differ in few bits agree, but for
one bit at most, in some band. Only records that share such a key are compared. Up to 262,144 fingerprints a band is the
sixteen bits of a lead. Among more, too many would share sixteen bits by chance: there are fewer and wider bands, so
that at most a few records share a key and the work grows with the number of records, not with its square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.signals.fingerprint import NEAR_BITS

ROWS_AT_ONCE, COMPARED_AT_ONCE = 1 << 18, 1 << 18  # a few megabytes, which stay in a processor's cache
BITS, LEAD_BITS = 128, 16  # of a fingerprint, and of a lead in it
OF_A_KEY = 4  # fingerprints that may share the key of a band by chance
FEWEST_BANDS = 6  # the numbers of a band's keys are counted in a table
_ONES = np.array([bin(number).count("1") for number in range(1 << 16)], np.uint8)


@dataclass(frozen=True)
class _Codes:
    """The distinct fingerprints (m, 2) uint64, and the rows of each: `rows[starts[i]:starts[i + 1]]`, ascending."""

    halves: np.ndarray
    rows: np.ndarray
    starts: np.ndarray


def first_equal(hashes: Sequence[str | None], others: Sequence[str | None]) -> np.ndarray:
    """For each hash the first row of `others` with the same one, -1 where there is none; "" and None equal nothing."""
    found = np.full(len(hashes), -1)
    (keys, rows), (base, base_rows) = _packed(hashes, 8), _packed(others, 8)
    values, first = np.unique(base.view(">u8")[:, 0], return_index=True)
    if values.size and len(rows):
        keys = keys.view(">u8")[:, 0]
        at = np.minimum(np.searchsorted(values, keys), values.size - 1)
        found[rows] = np.where(values[at] == keys, base_rows[first[at]], -1)
    return found


def near_pairs(fingerprints: Sequence[str | None], bits: int = NEAR_BITS) -> list[tuple[int, int]]:
    """Pairs of rows (a, b), a < b, whose fingerprints differ in at most `bits` bits, in order; None matches nothing.

    All pairs that differ in up to 15 bits are found among 262,144 different fingerprints, in up to 13 among a million
    and in up to 11 among more (see `surely_found`), and most of those that differ in more. Of rows with the
    very same fingerprint the first stands for all in every pair, so that a recording that is there a thousand times
    gives a thousand pairs and not half a million.
    """
    codes = _distinct(fingerprints)
    pairs = _matches(codes, codes, bits, alone=True)
    # A match of two different codes is seen from both sides, so that all rows of either meet the first of the other.
    found = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return [(a, b) for a, b in np.unique(found, axis=0).tolist()]


def near_matches(fingerprints: Sequence[str | None], others: Sequence[str | None],
                 bits: int = NEAR_BITS) -> np.ndarray:
    """Pairs (row, row of `others`) whose fingerprints differ in at most `bits` bits, int64 (n, 2), in order.

    As in `near_pairs`, of rows of `others` with the very same fingerprint the first stands for all.
    """
    return np.unique(_matches(_distinct(fingerprints), _distinct(others), bits), axis=0)


def _packed(texts: Sequence[str | None], n_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Hexadecimal texts as bytes (n, n_bytes), and the rows they come from; those that are empty or None left out."""
    rows = np.flatnonzero(np.fromiter(map(bool, texts), bool, len(texts)))
    packed = bytes.fromhex("".join(filter(None, texts)))
    if len(packed) != n_bytes * len(rows):
        raise ValueError(f"not all are {2 * n_bytes} hexadecimal digits")
    return np.frombuffer(packed, np.uint8).reshape(len(rows), n_bytes), rows


def _distinct(fingerprints: Sequence[str | None]) -> _Codes:
    packed, rows = _packed(fingerprints, BITS // 8)
    if not len(rows):
        return _Codes(np.zeros((0, 2), np.uint64), rows, np.zeros(1, np.int64))
    halves = packed.view(">u8").astype(np.uint64)
    order = np.lexsort((rows, halves[:, 1], halves[:, 0]))
    halves = halves[order]
    starts = np.flatnonzero(np.append(True, (halves[1:] != halves[:-1]).any(axis=1)))
    return _Codes(halves[starts], rows[order], np.append(starts, len(rows)))


def _matches(codes: _Codes, base: _Codes, bits: int, alone: bool = False) -> np.ndarray:
    """Pairs (row, first row of the other's fingerprint), with repetitions; a code of several rows meets itself when it
    is alone."""
    found = [np.zeros((0, 2), np.int64), *_near(codes.halves, base.halves, bits, alone)]
    if alone:
        itself = np.repeat(np.flatnonzero(np.diff(codes.starts) > 1)[:, None], 2, axis=1)
        found += [itself, *(pairs[:, ::-1] for pairs in found)]
    pairs = np.unique(np.concatenate(found), axis=0)
    sizes = np.diff(codes.starts)[pairs[:, 0]]
    rows = codes.rows[_ranges(codes.starts[pairs[:, 0]], sizes)]
    return np.stack([rows, np.repeat(base.rows[base.starts[pairs[:, 1]]], sizes)], axis=1)


def surely_found(count: int) -> int:
    """In how many bits two of `count` different fingerprints may differ so that they are found for sure."""
    return 2 * _band_count(count) - 1  # with one bit more, every band could differ in two


def _band_count(count: int) -> int:
    """The most bands in whose keys at most a few of so many fingerprints agree by chance."""
    return next((bands for bands in range(BITS // LEAD_BITS, FEWEST_BANDS, -1)
                 if count <= OF_A_KEY * 2 ** (BITS // bands)), FEWEST_BANDS)


def _near(codes: np.ndarray, base: np.ndarray, bits: int, alone: bool) -> Iterator[np.ndarray]:
    """Pairs of rows of `codes` and `base`, (n, 2) uint64 each, that differ in at most `bits` bits; `alone`: the two are
    the same, and a pair may come in either order, and more than once.

    The sixteen bits of a lead that is absent or flat are all 0. Bands of a lead each leave it out; wider ones, which
    hold bits of two, are for recordings with all leads.
    """
    count = _band_count(len(base))
    narrow = _bands(BITS // LEAD_BITS)
    if count == len(narrow):
        yield from _agreeing(codes, base, narrow, bits, alone)
        return
    whole, few = _by_leads(codes)
    base_whole, base_few = _by_leads(base)
    for rows, others, bands in ((whole, base_whole, _bands(count)), (few, np.arange(len(base)), narrow),
                                (whole, base_few, narrow)):
        for pairs in _agreeing(codes[rows], base[others], bands, bits, alone and others is base_whole):
            yield np.stack([rows[pairs[:, 0]], others[pairs[:, 1]]], axis=1)


def _bands(count: int) -> list[tuple[int, int]]:
    """First bit and width of so many bands, the wider ones first."""
    widths = [BITS // count + (number < BITS % count) for number in range(count)]
    return [(sum(widths[:number]), width) for number, width in enumerate(widths)]


def _by_leads(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of recordings with all leads, and those of the others."""
    lacks = np.any([_keys(codes, start, width) == 0 for start, width in _bands(BITS // LEAD_BITS)], axis=0)
    return np.flatnonzero(~lacks), np.flatnonzero(lacks)


def _keys(codes: np.ndarray, start: int, width: int) -> np.ndarray:
    """The bits from `start` on of each code as a number, int64."""
    stop = start + width
    if stop <= 64 or start >= 64:
        bits = codes[:, start // 64] >> np.uint64(-stop % 64)
    else:
        bits = (codes[:, 0] << np.uint64(stop - 64)) | (codes[:, 1] >> np.uint64(128 - stop))
    return (bits & np.uint64((1 << width) - 1)).astype(np.int64)


def _agreeing(codes: np.ndarray, base: np.ndarray, bands: Sequence[tuple[int, int]], bits: int,
              alone: bool) -> Iterator[np.ndarray]:
    """Pairs that agree in one of the bands but for one bit at most, and that differ in at most `bits` bits.

    Both sides are put in the order of the band's keys, so that what is compared lies together in memory. A key of 0 is
    not looked for: it is that of a lead that is absent or flat, which many records may share.
    """
    for start, width in bands:
        far = int(start < 64)  # the half that the band tells least of
        sides = [_by_key(side, start, width, far) for side in ((base,) if alone else (codes, base))]
        own, other = sides[0], sides[-1]
        for flip in (0, *(1 << bit for bit in range(width))):
            for rows, begin, sizes in _lookups(own, other, flip, alone):
                left, right = _near_by_half(own, other, rows, begin, sizes, bits)
                near = _distances(own.rest[left], other.rest[right]) + _distances(own.half[left], other.half[right])
                close = near <= bits
                if close.any():
                    yield np.stack([own.order[left[close]], other.order[right[close]]], axis=1)


@dataclass(frozen=True)
class _ByKey:
    """Codes in the `order` of a band's keys: their two halves, the keys there are but 0, and for every possible one how
    many have it (`counts`) and where those begin (`begins`)."""

    order: np.ndarray
    half: np.ndarray
    rest: np.ndarray
    keys: np.ndarray
    counts: np.ndarray
    begins: np.ndarray


def _by_key(codes: np.ndarray, start: int, width: int, half: int) -> _ByKey:
    keys = _keys(codes, start, width)
    order = np.sort(keys << 32 | np.arange(len(keys))) & 0xFFFFFFFF  # several times as fast as argsort
    counts = np.bincount(keys, minlength=1 << width)
    return _ByKey(order, codes[order, half], codes[order, 1 - half], 1 + np.flatnonzero(counts[1:]), counts,
                  np.cumsum(counts) - counts)


def _lookups(own: _ByKey, other: _ByKey, flip: int, alone: bool) -> Iterator[tuple[np.ndarray, ...]]:
    """Rows of `own`, each beside the first row of `other` that it is to be compared with and their number, some
    hundred thousand comparisons at a time; when the two are the same, each pair once."""
    found = own.keys
    if alone and flip:
        found = found[((found & flip) == 0) | (found == flip)]  # the latter beside 0, which does not look itself
    found = found[other.counts[found ^ flip] > 0]
    for keys in _parts(found, own.counts[found], ROWS_AT_ONCE):
        each = own.counts[keys]
        rows = _ranges(own.begins[keys], each)
        begin = np.repeat(other.begins[keys ^ flip], each)
        sizes = np.repeat(other.counts[keys ^ flip], each)
        if alone and not flip:
            begin, sizes = rows + 1, begin + sizes - (rows + 1)
        for part in _parts(np.arange(len(rows)), sizes, COMPARED_AT_ONCE):
            yield rows[part], begin[part], sizes[part]


def _parts(values: np.ndarray, sizes: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Values one after the other, in parts whose sizes add up to about `most`."""
    yield from np.split(values, np.flatnonzero(np.diff(np.cumsum(sizes) // most)) + 1)


def _near_by_half(own: _ByKey, other: _ByKey, rows: np.ndarray, begin: np.ndarray, sizes: np.ndarray,
                  bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of the pairs that differ in at most `bits` of the bits of a half."""
    right = _ranges(begin, sizes)
    near = np.flatnonzero(_distances(np.repeat(own.half[rows], sizes), other.half[right]) <= bits)
    return rows[np.searchsorted(np.cumsum(sizes), near, side="right")], right[near]


def _distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """In how many bits two numbers differ, uint8."""
    differing = left ^ right
    if hasattr(np, "bitwise_count"):  # since numpy 2.0
        return np.bitwise_count(differing)
    return _ONES[differing.view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.uint8)


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, … for each of the sizes, one after the other."""
    before = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) + np.repeat(starts - before, sizes)
