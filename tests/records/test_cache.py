"""The cache as its callers see it: what comes back, what gives way, and what happens where nothing can be written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.cache import Cache, address

ROOM = 1 << 20


def key_of(name: str) -> str:
    return address({"name": name})


def cache_at(folder: Path, limit: int = ROOM) -> tuple[Cache, list[str]]:
    said: list[str] = []
    return Cache(folder, limit, said.append), said


def files(folder: Path) -> list[str]:
    """Everything in the cache's shelves, by name; locks and signs aside."""
    return sorted(path.name for path in folder.glob("??/*"))


# -- addresses --------------------------------------------------------------------------------------------------------


def test_an_address_depends_on_content_and_not_on_the_order_of_keys() -> None:
    one = address({"a": 1, "b": [1.5, None, True, "ü"], "c": {"d": (1, 2)}})
    assert len(one) == 64
    assert one == address({"c": {"d": [1, 2]}, "b": [1.5, None, True, "ü"], "a": 1})
    others = [
        {"a": 1.0, "b": [1.5, None, True, "ü"], "c": {"d": (1, 2)}},
        {"a": 1, "b": [1.5, None, 1, "ü"], "c": {"d": (1, 2)}},
        {"a": 1, "b": [1.5, None, True, "u"], "c": {"d": (1, 2)}},
        {"a": 1, "b": [1.5, None, True, "ü"], "c": {"d": (2, 1)}},
        {"a": 1, "b": [1.5, None, True, "ü"], "c": {"e": (1, 2)}},
    ]
    assert len({one, *map(address, others)}) == 6


def test_an_address_holds_the_format_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of("a")
    monkeypatch.setattr("pytest_saliency.records.cache.FORMAT", 2)
    assert key_of("a") != before


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"a": float("nan")}, "finite numbers"),
        ({"a": {"b": [0, np.float32(1)]}}, r"parts\.a\.b\[1\] is of type float32"),
        ({"a": {1: 2}}, r"parts\.a has the key 1; keys must be text"),
        ({"a": b"bytes"}, r"parts\.a is of type bytes"),
    ],
)
def test_what_has_no_address_is_refused(parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SaliencyError, match=sentence):
        address(parts)


def test_a_key_that_is_no_address_cannot_leave_the_folder(tmp_path: Path) -> None:
    cache, _ = cache_at(tmp_path)
    for key in ("", "../../x", "A" * 64, "a" * 63):
        with pytest.raises(ValueError, match="not the address"):
            cache.get(key)


# -- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0.1, -0.0, np.nan], [np.inf, 1e-45, 3.0]], dtype=np.float32),
        np.linspace(0, 1, 7),
        np.array([2**63 - 1, -(2**63)]),
        np.array([True, False]),
        np.array(["ok", "degenerate", "", "naïve ∂"], dtype="<U10"),
        np.array([""]).astype("<U0"),
        np.array([b"ab", b"c"]),
        np.arange(5, dtype=np.uint8),
        np.array([1 + 2j]),
        np.array([0.1], dtype=np.float16),
        np.array(3.5),
        np.zeros((0, 3, 4), dtype=np.float32),
        np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(10)[::-3],
        np.arange(4, dtype=">i4"),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_arrays_come_back_as_they_were(tmp_path: Path, array: np.ndarray) -> None:
    cache, said = cache_at(tmp_path)
    meta = {"seconds": 1.25, "names": ["a", "ü"], "none": None, "deep": {"n": 3}}
    assert cache.put(key_of("a"), {"first": array, "": np.arange(2)}, meta)
    entry = cache.get(key_of("a"))
    assert entry is not None
    assert entry.meta == meta
    assert list(entry.arrays) == ["first", ""]
    found = entry.arrays["first"]
    assert found.shape == array.shape
    assert found.dtype.kind == array.dtype.kind
    assert found.dtype.itemsize == max(array.dtype.itemsize, found.dtype.alignment)
    assert found.tobytes() == np.ascontiguousarray(array).astype(found.dtype).tobytes()
    assert found.flags.writeable, "torch wants arrays it may write to"
    assert said == []


def test_an_entry_without_arrays(tmp_path: Path) -> None:
    cache, _ = cache_at(tmp_path)
    assert cache.put(key_of("a"), {}, {"only": "words"})
    entry = cache.get(key_of("a"))
    assert entry is not None
    assert (entry.arrays, entry.meta) == ({}, {"only": "words"})


def test_what_was_never_put_or_was_discarded_is_not_there(tmp_path: Path) -> None:
    cache, said = cache_at(tmp_path / "not" / "made")
    assert cache.get(key_of("a")) is None
    cache.discard(key_of("a"))
    assert not (tmp_path / "not").exists(), "looking makes nothing"
    cache.put(key_of("a"), {"x": np.arange(3)}, {})
    cache.discard(key_of("a"))
    assert cache.get(key_of("a")) is None
    assert said == []


def test_a_second_put_replaces(tmp_path: Path) -> None:
    cache, _ = cache_at(tmp_path)
    for value in (1, 2):
        assert cache.put(key_of("a"), {"x": np.array([value])}, {})
    entry = cache.get(key_of("a"))
    assert entry is not None
    assert entry.arrays["x"].tolist() == [2]
    assert files(tmp_path) == [f"{key_of('a')}.entry"]


@pytest.mark.parametrize(
    ("arrays", "meta", "sentence"),
    [
        ({"x": np.array([object()])}, {}, "array 'x' of type object cannot be kept"),
        ({"x": np.array(["2027-01-01"], dtype="M8[D]")}, {}, "array 'x' of type datetime64"),
        ({}, {"x": float("inf")}, "meta data .* cannot be written as JSON"),
        ({}, {"x": Path()}, "meta data .* cannot be written as JSON"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any], sentence: str
) -> None:
    cache, _ = cache_at(tmp_path)
    with pytest.raises(SaliencyError, match=sentence):
        cache.put(key_of("a"), arrays, meta)
    assert files(tmp_path) == []


def test_a_new_folder_is_marked_as_a_cache(tmp_path: Path) -> None:
    cache, _ = cache_at(tmp_path / "new")
    cache.put(key_of("a"), {}, {})
    assert "\n*\n" in (tmp_path / "new" / ".gitignore").read_text()
    # The specification's signature: the first 43 bytes of the file.
    assert (tmp_path / "new" / "CACHEDIR.TAG").read_bytes()[:43] == b"Signature: 8a477f597d28d172789f06886806bc55"


def test_a_folder_with_the_users_own_files_is_not_hidden_from_git(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("mine")
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "notes.entry").write_text("mine" * 1000)
    cache, _ = cache_at(tmp_path, limit=400)
    assert cache.put(key_of("a"), {}, {})
    assert cache.put(key_of("b"), {}, {"more": "x" * 100})
    assert not (tmp_path / ".gitignore").exists()
    assert (tmp_path / "model.py").exists()
    assert (tmp_path / "ab" / "notes.entry").exists(), "only files that carry an address are ever evicted"


def test_the_cache_stays_where_it_was_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache, _ = cache_at(Path("here"))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    cache.put(key_of("a"), {}, {})
    assert files(tmp_path / "here") == [f"{key_of('a')}.entry"]


# -- size -------------------------------------------------------------------------------------------------------------


def at(folder: Path, name: str, seconds: int) -> None:
    """Set when an entry was last used: file systems tell times apart only every few milliseconds."""
    os.utime(folder / key_of(name)[:2] / f"{key_of(name)}.entry", (seconds, seconds))


def test_the_least_recently_used_entry_gives_way(tmp_path: Path) -> None:
    x = np.zeros(1000)
    cache, _ = cache_at(tmp_path)
    cache.put(key_of("a"), {"x": x}, {})
    size = next(tmp_path.glob("??/*")).stat().st_size
    cache, said = cache_at(tmp_path, limit=3 * size)
    for seconds, name in enumerate("abc"):
        assert cache.put(key_of(name), {"x": x}, {})
        at(tmp_path, name, 1000 + seconds)
    assert cache.get(key_of("a")) is not None  # the oldest by far, but it has just been used
    assert cache.put(key_of("d"), {"x": x}, {})
    assert [name for name in "abcd" if cache.get(key_of(name))] == ["a", "c", "d"]
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 3 * size
    assert said == []


def test_what_was_just_put_stays_even_if_the_clock_says_otherwise(tmp_path: Path) -> None:
    x = np.zeros(1000)
    cache, _ = cache_at(tmp_path, limit=9000)
    cache.put(key_of("a"), {"x": x}, {})
    at(tmp_path, "a", 1 << 32)  # a file from the future, as another machine's clock makes them
    assert cache.put(key_of("b"), {"x": x}, {})
    assert [name for name in "ab" if cache.get(key_of(name))] == ["b"]


def test_an_entry_beyond_the_limit_is_not_stored_and_pushes_nothing_out(tmp_path: Path) -> None:
    cache, said = cache_at(tmp_path, limit=5000)
    assert cache.put(key_of("a"), {"x": np.zeros(10)}, {})
    for name in "bc":
        assert not cache.put(key_of(name), {"x": np.zeros(1000)}, {})
        assert cache.get(key_of(name)) is None
    assert cache.get(key_of("a")) is not None
    assert len(said) == 1
    assert "8," in said[0]
    assert "5,000" in said[0]


def test_eviction_by_another_process_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, said = cache_at(tmp_path, limit=20000)
    for seconds, name in enumerate("ab"):
        cache.put(key_of(name), {"x": np.zeros(1000)}, {})
        at(tmp_path, name, 1000 + seconds)
    remove = Path.unlink

    def late(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith(".entry"):
            remove(path)  # the other process is faster
        remove(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", late)
    assert cache.put(key_of("c"), {"x": np.zeros(1000)}, {})
    assert [name for name in "abc" if cache.get(key_of(name))] == ["b", "c"]
    assert said == []


def test_abandoned_parts_are_swept_up_and_fresh_ones_are_not(tmp_path: Path) -> None:
    cache, _ = cache_at(tmp_path)
    cache.put(key_of("a"), {}, {})
    shelf = tmp_path / key_of("a")[:2]
    fresh, old = (shelf / f"{key_of('a')}.{name}.part" for name in ("0f", "1f"))
    for path in (fresh, old):
        path.write_bytes(b"half")
    hours_ago = old.stat().st_mtime - 2 * 3600
    os.utime(old, (hours_ago, hours_ago))
    cache.put(key_of("b"), {}, {})
    assert fresh.exists()
    assert not old.exists()


# -- where nothing can be written -------------------------------------------------------------------------------------

FULL = r"the cache at .*new cannot be written: No space left on device; this run goes on without it\.$"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    folder = tmp_path / "new"
    cache, said = cache_at(folder)
    assert cache.put(key_of("a"), {"x": np.arange(3)}, {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (Path, "replace")), full)
    for name in "bc":
        assert not cache.put(key_of(name), {"x": np.arange(3)}, {})
    monkeypatch.undo()
    assert files(folder) == [f"{key_of('a')}.entry"]
    assert cache.get(key_of("a")) is not None, "what is there can still be read"
    assert not cache.put(key_of("b"), {}, {}), "a run does not try again and again"
    with cache.locked(key_of("b")):
        pass
    assert len(said) == 1
    assert re.match(FULL, said[0])


def in_a_process(text: str, *words: object) -> str:
    """Run a script with the cache at hand; return what it printed."""
    head = """
        import os, resource, signal, sys, time
        from pathlib import Path
        import numpy as np
        from pytest_saliency.records.cache import Cache, address
        said = []
        def key_of(name): return address({"name": name})
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(text), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_system_refuses_to_write_on(tmp_path: Path) -> None:
    # A limit on the size of files fails in the middle of a real write, as a full disk does.
    made = in_a_process(
        """
        cache = Cache(Path(sys.argv[1]), 1 << 30, said.append)
        assert cache.put(key_of("small"), {"x": np.zeros(10)}, {})
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        print(cache.put(key_of("large"), {"x": np.zeros(100000)}, {}), cache.get(key_of("large")))
        print(cache.get(key_of("small")).arrays["x"].sum(), said)
        """,
        tmp_path / "c",
    )
    assert "False None\n0.0 [" in made
    assert made.count("cannot be written: File too large; this run goes on without it.") == 1
    assert files(tmp_path / "c") == [f"{key_of('small')}.entry"]


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that another user can get at; pytest's own are closed to everybody else."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are of another kind on Windows")
def test_a_folder_that_may_only_be_read(shared_folder: Path) -> None:
    made = in_a_process(
        """
        import filelock
        folder = Path(sys.argv[1]) / "c"
        assert Cache(folder, 1 << 20, said.append).put(key_of("a"), {"x": np.arange(3)}, {})
        damaged = folder / key_of("b")[:2] / (key_of("b") + ".entry")
        damaged.parent.mkdir(exist_ok=True)
        damaged.write_bytes(b"nothing")
        for path in (*folder.glob("*/"), folder):
            if path.is_dir():
                path.chmod(0o555)
        if os.geteuid() == 0:  # whom permissions do not stop
            os.seteuid(65534)
        cache = Cache(folder, 1 << 20, said.append)
        print(cache.get(key_of("a")).arrays["x"].tolist(), cache.get(key_of("b")))
        with cache.locked(key_of("a")):
            print(cache.put(key_of("c"), {}, {}))
        cache.discard(key_of("a"))
        print(cache.get(key_of("a")) is not None)
        print(*said, sep="\\n")
        if os.getuid() == 0:
            os.seteuid(0)
        for path in (folder, *folder.glob("*/")):
            if path.is_dir():
                path.chmod(0o755)
        """,
        shared_folder,
    )
    lines = made.splitlines()
    assert lines[:3] == ["[0, 1, 2] None", "False", "True"]
    assert len(lines) == 5
    assert lines[3].endswith("is not used: it is cut short; what it held is recomputed.")
    assert lines[4].endswith("c cannot be written: Permission denied; this run goes on without it.")


@pytest.mark.parametrize("where", ["folder", "shelf", "entry", "locks"])
def test_something_else_is_in_the_way(tmp_path: Path, where: str) -> None:
    folder, key = tmp_path / "c", key_of("a")
    places = {
        "folder": folder,
        "shelf": folder / key[:2],
        "entry": folder / key[:2] / f"{key}.entry",
        "locks": folder / "locks",
    }
    place = places[where]
    place.parent.mkdir(parents=True, exist_ok=True)
    if where == "entry":
        place.mkdir()
        (place / "mine").write_text("kept")
    else:
        place.write_text("kept")
    cache, said = cache_at(folder)
    assert cache.get(key) is None
    with cache.locked(key):
        assert not cache.put(key, {}, {})
    assert not cache.put(key, {}, {})
    assert cache.get(key) is None
    unwritable = [sentence for sentence in said if "cannot be written: " in sentence]
    assert len(unwritable) == 1
    reason = "Is a directory" if where == "entry" else "a file is in the place of a folder"
    assert reason in unwritable[0]
    assert (place / "mine" if where == "entry" else place).read_text() == "kept"


def test_the_cache_is_light_to_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import pytest_saliency.records.cache, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert not {"numpy", "torch", "filelock"} & set(done.stdout.split())
