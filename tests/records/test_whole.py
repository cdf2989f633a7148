"""What is written is whole or not there, also when the process is killed between any two steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.arrays import pack_arrays, read_arrays, write_arrays
from pytest_saliency.records.whole import new_folder, write_bytes_whole

KILLED_AT = """
import os, sys
from pathlib import Path
from pytest_saliency.records import whole
left = [int(sys.argv[1])]
def counted(function):
    def step(*args, **kwargs):
        if left[0] == 0:
            os.kill(os.getpid(), 9)
        left[0] -= 1
        made = function(*args, **kwargs)
        return made
    return step
os.fsync = counted(os.fsync)
Path.open = counted(Path.open)
Path.rename = counted(Path.rename)
Path.replace = counted(Path.replace)
Path.mkdir = counted(Path.mkdir)
folder = Path(sys.argv[2])
whole.write_bytes_whole(folder / "file", b"new" * 1000)
with whole.new_folder(folder / "made") as made:
    (made / "deep").mkdir()
    for name in ("a", "deep/b"):
        with (made / name).open("wb") as file:
            file.write(name.encode() * 1000)
print("done")
"""


def test_killed_anywhere_leaves_the_old_file_or_the_new_one_and_no_half_folder(tmp_path: Path) -> None:
    ended = False
    for step in range(40):
        folder = tmp_path / str(step)
        folder.mkdir()
        (folder / "file").write_bytes(b"old")
        command = [sys.executable, "-c", KILLED_AT, str(step), str(folder)]
        done = subprocess.run(command, capture_output=True, timeout=60)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        assert (folder / "file").read_bytes() in (b"old", b"new" * 1000)
        if (folder / "made").exists():
            assert (folder / "made/a").read_bytes() == b"a" * 1000
            assert (folder / "made/deep/b").read_bytes() == b"deep/b" * 1000
        if done.returncode == 0:
            ended = True
            break
    assert ended
    assert step > 8, "steps were counted"


def test_a_folder_that_is_there_is_never_changed(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with pytest.raises(SaliencyError, match="is there already"), new_folder(tmp_path / "made"):
        raise AssertionError("the block must not run")
    assert [entry.name for entry in tmp_path.iterdir()] == ["made"]


def test_an_error_inside_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "made") as part:
            (part / "a").write_text("a")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_files_are_readable_as_others_are(tmp_path: Path) -> None:
    write_bytes_whole(tmp_path / "a/b", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert os.stat(tmp_path / "a/b").st_mode == os.stat(tmp_path / "plain").st_mode  # noqa: PTH116


def test_arrays_come_back_and_have_one_spelling(tmp_path: Path) -> None:
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(["x", "yy"])}
    made = write_arrays(tmp_path / "x.npz", arrays)
    assert pack_arrays(dict(reversed(arrays.items()))) == (tmp_path / "x.npz").read_bytes()
    back = read_arrays(tmp_path / "x.npz", made["sha256"])
    assert set(back) == set(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(back[name], values)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not", b"\x80\x04."])
def test_damaged_arrays_are_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(SaliencyError, match="does not hold arrays"):
        read_arrays(tmp_path / "x.npz")
    with pytest.raises(SaliencyError, match="SHA-256 differs"):
        read_arrays(tmp_path / "x.npz", "0" * 64)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(SaliencyError, match="does not hold arrays"):
        read_arrays(tmp_path / "x.npz")
