"""Damaged entries: every one is noticed, removed and recomputed, with one sentence for all of them."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_saliency.records.cache import Cache, address

KEY = address({"name": "small"})


def small(folder: Path) -> tuple[Cache, Path, bytes, list[str]]:
    """A cache with one small entry: the cache, the entry's path and bytes, and what the cache says."""
    said: list[str] = []
    cache = Cache(folder, 1 << 20, said.append)
    arrays = {"maps": np.array([0.5, -1.0], dtype=np.float32), "status": np.array(["ok"], dtype="<U10")}
    assert cache.put(KEY, arrays, {"passes": 2})
    path = folder / KEY[:2] / f"{KEY}.entry"
    return cache, path, path.read_bytes(), said


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    cache, path, whole, said = small(tmp_path)
    for position in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(whole)
            changed[position] ^= flip
            path.write_bytes(changed)
            assert cache.get(KEY) is None, f"byte {position} ^ {flip:#x}"
            assert not path.exists(), "a damaged entry is removed"
    path.write_bytes(whole)
    assert cache.get(KEY) is not None
    assert len(said) == 1
    assert str(path) in said[0]
    assert said[0].endswith("what it held is recomputed.")


def test_truncation_at_every_length_and_anything_appended_are_noticed(tmp_path: Path) -> None:
    cache, path, whole, said = small(tmp_path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert cache.get(KEY) is None, length
        assert not path.exists()
    path.write_bytes(whole + b"\0")
    assert cache.get(KEY) is None
    assert len(said) == 1


def test_the_entry_of_another_computation(tmp_path: Path) -> None:
    cache, _, whole, said = small(tmp_path)
    other = address({"name": "other"})
    path = tmp_path / other[:2] / f"{other}.entry"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(whole)
    assert cache.get(other) is None
    assert not path.exists()
    assert "belongs to another computation" in said[0]
    assert cache.get(KEY) is not None


def test_an_entry_of_another_format(tmp_path: Path) -> None:
    cache, path, whole, said = small(tmp_path)
    path.write_bytes(whole[:8] + struct.pack("<I", 2) + whole[12:])
    assert cache.get(KEY) is None
    assert "it has format 2, not 1" in said[0]


def test_an_entry_that_cannot_be_read_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, path, _, said = small(tmp_path)

    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", broken)
        assert cache.get(KEY) is None
        assert cache.get(KEY) is None
    assert path.exists()
    assert said == [f"the cache entry {path} cannot be read: Input/output error; it is recomputed."]


def test_a_good_entry_that_came_meanwhile_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, path, whole, _ = small(tmp_path)
    path.write_bytes(whole[:-1])
    from pytest_saliency.records import cache as module

    read = module.read_entry

    def meanwhile(*given: Any) -> Any:
        try:
            return read(*given)
        finally:  # another process computes the entry and puts it, between reading and removing
            fresh = path.with_suffix(".fresh")
            fresh.write_bytes(whole)
            fresh.replace(path)

    monkeypatch.setattr(module, "read_entry", meanwhile)
    assert cache.get(KEY) is None
    assert path.read_bytes() == whole


def crafted(header: object, payload: bytes = b"") -> bytes:
    """An entry whose digests are right, whatever its header says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<8sII32s", b"\x93SALMAP\n", 1, len(text), hashlib.sha256(text).digest()) + text + payload


EMPTY = hashlib.sha256(b"").hexdigest()


def head(arrays: Any, length: Any = 0, **more: Any) -> dict[str, Any]:
    return {"key": KEY, "meta": {}, "arrays": arrays, "sha256": EMPTY, "length": length, **more}


@pytest.mark.parametrize(
    "entry",
    [
        struct.pack("<8sII32s", b"\x93SALMAP\n", 1, 2**32 - 1, b"\0" * 32),
        crafted(b"\xff\xfe"),
        crafted(b"[" * 100000),
        crafted(b"9" * 5000),
        crafted([]),
        crafted("text"),
        crafted({}),
        crafted(head(None)),
        crafted(head([["x"]])),
        crafted(head([["x", "<f4", "23"]])),
        crafted(head([["x", "<f4", [-1]]])),
        crafted(head([["x", "<f4", [2**62, 2**62]]], 2**126)),
        crafted(head([["x", "<f4", [10**12]]], 4 * 10**12)),
        crafted(head([["x", "<f4", [0, 10**30]]])),
        crafted(head([["x", "<f4", [0] * 100]])),
        crafted(head([["x", "|O", [0]]])),
        crafted(head([["x", "<f4,<f4", [0]]])),
        crafted(head([["x", ">f4", [0]]])),
        crafted(head([["x", 4, [0]]])),
        crafted(head([], meta=7)),
        crafted(head([], sha256="0" * 64)),
        crafted(head([], 4), b"1234"),
    ],
    ids=range(22),
)
def test_headers_that_nothing_here_writes(tmp_path: Path, entry: bytes) -> None:
    cache, path, _, said = small(tmp_path)
    path.write_bytes(entry)
    assert cache.get(KEY) is None
    assert not path.exists()
    assert len(said) == 1


def test_the_crafted_entries_fail_for_their_own_reason(tmp_path: Path) -> None:
    cache, path, _, said = small(tmp_path)
    payload = np.array([1.5], dtype="<f4").tobytes()
    good = head([["x", "<f4", [1]]], 4, sha256=hashlib.sha256(payload).hexdigest())
    path.write_bytes(crafted(good, payload))
    entry = cache.get(KEY)
    assert entry is not None
    assert entry.arrays["x"].tolist() == [1.5]
    assert said == []
