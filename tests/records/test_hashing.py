from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest

from pytest_saliency.records.hashing import CHUNK, plain_json, sha256_of_file, to_json


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_a_files_digest_does_not_depend_on_how_it_is_read(tmp_path: Path, size: int) -> None:
    content = bytes(i % 251 for i in range(size))
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_numbers_that_json_lacks_become_null() -> None:
    value = {"nan": math.nan, "inf": [math.inf, (-math.inf, 1.5)], 3: True}
    assert plain_json(value) == {"nan": None, "inf": [None, [None, 1.5]], "3": True}
    assert json.loads(to_json(value)) == {"nan": None, "inf": [None, [None, 1.5]], "3": True}


def test_equal_content_has_equal_text() -> None:
    assert to_json({"b": 1, "a": {"d": "ü", "c": 2}}) == to_json({"a": {"c": 2, "d": "ü"}, "b": 1})
    assert to_json({"b": 1, "a": "ü"}) == '{"a": "ü", "b": 1}'
