from __future__ import annotations

import hashlib
from itertools import permutations

import numpy as np
import pytest

from pytest_saliency.decide.randomness import Stream, seed_from

MASK = 2**64 - 1


def philox_words(key: int, count: int) -> list[int]:
    """Philox4x64-10 from the constants of Salmon et al., SC 2011; NumPy counts up before its first block."""
    words: list[int] = []
    block = 0
    while len(words) < count:
        block += 1
        c = [block, 0, 0, 0]
        k0, k1 = key & MASK, key >> 64
        for _ in range(10):
            first, second = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [(second >> 64) ^ c[1] ^ k0, second & MASK, (first >> 64) ^ c[3] ^ k1, first & MASK]
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
        words += c
    return words[:count]


def words_of(seed: int, *names: str, count: int) -> list[int]:
    return philox_words(seed_from(f"{seed:x}", *names), count)


def test_seed_is_the_start_of_a_sha256_with_lengths() -> None:
    expected = hashlib.sha256(b"2:ab" + "2:é".encode()).digest()[:8]
    assert seed_from("ab", "é") == int.from_bytes(expected, "big")
    assert seed_from("ab", "c") != seed_from("a", "bc") != seed_from("abc")


def test_words_are_philox_written_out_in_python() -> None:
    assert Stream(11, "x").words(13).tolist() == words_of(11, "x", count=13)


def test_draws_follow_the_documented_mapping() -> None:
    words = words_of(5, "draws", count=200)
    assert Stream(5, "draws").uniform(200).tolist() == [(word >> 11) / 2**53 for word in words]
    assert Stream(5, "draws").integers(6, 200).tolist() == [word % 6 for word in words]
    signs = [1 - 2 * (words[place // 64] >> (place % 64) & 1) for place in range(130)]
    assert Stream(5, "draws").signs(130).tolist() == signs
    assert Stream(5, "draws").permutation(50).tolist() == sorted(range(50), key=lambda place: words[place])


def test_integers_reject_the_uneven_rest() -> None:
    bound = 2**63 - 2**61
    ceiling = 2**64 // bound * bound
    words = words_of(8, "rest", count=400)
    drawn, later = words[:100], iter(words[100:])
    wrong = [place for place, word in enumerate(drawn) if word >= ceiling]
    assert wrong, "the bound must make some words fall into the rest"
    while wrong:
        for place in wrong:
            drawn[place] = next(later)
        wrong = [place for place in wrong if drawn[place] >= ceiling]
    assert Stream(8, "rest").integers(bound, 100).tolist() == [word % bound for word in drawn]


def test_every_permutation_is_about_equally_frequent() -> None:
    stream = Stream(3, "frequency")
    counts = dict.fromkeys(permutations(range(4)), 0)
    draws = 4800
    for _ in range(draws):
        counts[tuple(stream.permutation(4).tolist())] += 1
    expected = draws / 24
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 49.7  # 0.999 quantile with 23 degrees of freedom


def test_names_separate_streams_and_seeds_repeat_them() -> None:
    assert Stream(1, "a").words(4).tolist() == Stream(1, "a").words(4).tolist()
    assert Stream(1, "a").words(4).tolist() != Stream(1, "b").words(4).tolist()
    one, again, other = (Stream(seed).permutation(20).tolist() for seed in (1, 1, 2))
    assert one == again != other
    assert sorted(one) == list(range(20))


def test_empty_draws_and_bad_bounds() -> None:
    assert Stream(1).permutation(0).tolist() == []
    assert Stream(1).signs(0).size == 0
    with pytest.raises(ValueError, match="bound of a draw is 0"):
        Stream(1).integers(0, 3)
    assert np.all(Stream(1).integers(1, 5) == 0)
