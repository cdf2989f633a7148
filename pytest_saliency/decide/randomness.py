"""Random draws that can be repeated years later.

NumPy promises that the raw bits of a bit generator stay the same, but not the stream of any ``Generator`` method.
So the bits come from the counter-based generator Philox (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011) and the way from bits to draws is written down here:

- ``uniform``: the upper 53 of 64 bits, times 2**-53, so 0 <= u < 1;
- ``signs``: single bits, the lowest of a word first; bit 1 is -1, bit 0 is +1;
- ``integers``: word modulo bound; words at or above the largest multiple of the bound are rejected and replaced by
  later words, so that every value is equally likely;
- ``permutation``: the order that sorts n words; if two words are equal all n are drawn again.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

WORDS = 2**64


def seed_from(*parts: str) -> int:
    """Return the first eight bytes of a SHA-256 over ``parts``, big-endian.

    Every part is preceded by its length in bytes, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8")
        digest.update(f"{len(encoded)}:".encode("ascii"))
        digest.update(encoded)
    return int.from_bytes(digest.digest()[:8], "big")


class Stream:
    """One stream of draws, fixed by a seed and by names that say what the draws are for.

    Streams with other names are independent, so adding a draw in one place never changes another.
    """

    def __init__(self, seed: int, *names: str) -> None:
        self._bits = np.random.Philox(key=seed_from(f"{seed:x}", *names))

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """Return ``count`` raw 64-bit words."""
        return np.asarray(self._bits.random_raw(count), dtype=np.uint64)

    def uniform(self, count: int) -> npt.NDArray[np.float64]:
        """Return ``count`` numbers in [0, 1)."""
        return (self.words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def signs(self, count: int) -> npt.NDArray[np.int8]:
        """Return ``count`` signs, +1 or -1."""
        octets = self.words(-(-count // 64)).astype("<u8").view(np.uint8)
        bits = np.unpackbits(octets, bitorder="little")[:count]
        return (1 - 2 * bits.astype(np.int8)).astype(np.int8)

    def integers(self, bound: int, count: int) -> npt.NDArray[np.int64]:
        """Return ``count`` integers from 0 to ``bound - 1`` (``bound`` from 1 to 2**63), each equally likely."""
        if not 1 <= bound <= 2**63:
            raise ValueError(f"the bound of a draw is {bound}; it must be from 1 to 2**63")
        words = self.words(count)
        rest = WORDS % bound
        if rest:
            ceiling = np.uint64(WORDS - rest)
            rejected = np.flatnonzero(words >= ceiling)
            while rejected.size:
                words[rejected] = self.words(rejected.size)
                rejected = rejected[words[rejected] >= ceiling]
        return (words % np.uint64(bound)).astype(np.int64)

    def permutation(self, count: int) -> npt.NDArray[np.int64]:
        """Return a permutation of ``range(count)``, each equally likely."""
        while True:
            words = self.words(count)
            order = np.argsort(words, kind="stable")
            if count < 2 or bool(np.all(np.diff(words[order]) > 0)):
                return order.astype(np.int64)
