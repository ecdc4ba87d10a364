"""Equal and nearly equal recordings among many, from the hashes and fingerprints of `signals.fingerprint`.

Near pairs are found by multi-index hashing (Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-
index hashing", CVPR 2012): two fingerprints that differ in few bits agree, but for one bit at most, in the sixteen
bits of some lead. Only records that share such a key are compared, a small share of all pairs, and all is numpy
arrays of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.signals.fingerprint import NEAR_BITS

PAIRS_AT_ONCE = 1 << 21
_BANDS = 8
_KEYS = 1 << 16
_FLIPS = (0, *(1 << bit for bit in range(16)))
_ONES = np.array([bin(number).count("1") for number in range(_KEYS)], np.uint8)


@dataclass(frozen=True)
class _Codes:
    """The distinct fingerprints (m, 2) uint64, their bands (m, 8) uint16, and the rows of each:
    `rows[starts[i]:starts[i + 1]]`, ascending."""

    halves: np.ndarray
    bands: np.ndarray
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
    """Pairs of rows (a, b), a < b, whose fingerprints differ in at most `bits` bits, in order; None is near nothing.

    All pairs that differ in up to 15 bits are found, and most of those that differ in up to 18. Of rows with the very
    same fingerprint the first stands for all in every pair, so that a recording that is there a thousand times gives a
    thousand pairs and not half a million.
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
    rows = np.array([row for row, text in enumerate(texts) if text], np.int64)
    packed = bytes.fromhex("".join(texts[row] or "" for row in rows.tolist()))
    if len(packed) != n_bytes * len(rows):
        raise ValueError(f"not all are {2 * n_bytes} hexadecimal digits")
    return np.frombuffer(packed, np.uint8).reshape(len(rows), n_bytes), rows


def _distinct(fingerprints: Sequence[str | None]) -> _Codes:
    packed, rows = _packed(fingerprints, 2 * _BANDS)
    if not len(rows):
        return _Codes(np.zeros((0, 2), np.uint64), np.zeros((0, _BANDS), np.uint16), rows, np.zeros(1, np.int64))
    halves = packed.view(">u8").astype(np.uint64)
    order = np.lexsort((rows, halves[:, 1], halves[:, 0]))
    halves = halves[order]
    starts = np.flatnonzero(np.append(True, (halves[1:] != halves[:-1]).any(axis=1)))
    return _Codes(halves[starts], packed[order[starts]].view(">u2").astype(np.uint16), rows[order],
                  np.append(starts, len(rows)))


def _matches(codes: _Codes, base: _Codes, bits: int, alone: bool = False) -> np.ndarray:
    """Pairs (row, first row of the other's fingerprint), with repetitions; each code meets itself when it is alone."""
    found = [np.zeros((0, 2), np.int64)]
    for left, right in _candidates(codes.bands, base.bands):
        if alone:
            once = left < right
            left, right = left[once], right[once]
        near = _distances(codes.halves, base.halves, left, right) <= bits
        found.append(np.unique(np.stack([left[near], right[near]], axis=1), axis=0))
    if alone:
        itself = np.repeat(np.arange(len(codes.halves))[:, None], 2, axis=1)
        found += [itself, *(pairs[:, ::-1] for pairs in found)]
    pairs = np.unique(np.concatenate(found), axis=0)
    sizes = np.diff(codes.starts)[pairs[:, 0]]
    rows = codes.rows[_ranges(codes.starts[pairs[:, 0]], sizes)]
    return np.stack([rows, np.repeat(base.rows[base.starts[pairs[:, 1]]], sizes)], axis=1)


def _distances(codes: np.ndarray, base: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """In how many bits codes[left] and base[right] differ."""
    distance = np.zeros(len(left), np.uint8)
    for half in range(codes.shape[1]):
        differing = codes[left, half] ^ base[right, half]
        if hasattr(np, "bitwise_count"):  # since numpy 2.0
            distance += np.bitwise_count(differing)
        else:
            distance += _ONES[differing.view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.uint8)
    return distance


def _candidates(codes: np.ndarray, base: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of codes that agree in one band but for one bit at most, some millions at a time.

    A band of 0 is that of a lead that is absent or flat, which many records may share: it is not looked for.
    """
    for band in range(_BANDS):
        keys = base[:, band].astype(np.int64)
        order = np.argsort(keys, kind="stable")
        begins = np.searchsorted(keys[order], np.arange(_KEYS + 1))
        those = np.flatnonzero(codes[:, band])
        for flip in _FLIPS:
            wanted = codes[those, band].astype(np.int64) ^ flip
            sizes = begins[wanted + 1] - begins[wanted]
            some = sizes > 0
            left, first, sizes = those[some], begins[wanted[some]], sizes[some]
            cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // PAIRS_AT_ONCE)) + 1
            for part in np.split(np.arange(len(left)), cuts):
                yield np.repeat(left[part], sizes[part]), order[_ranges(first[part], sizes[part])]


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, … for each of the sizes, one after the other."""
    before = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) + np.repeat(starts - before, sizes)
