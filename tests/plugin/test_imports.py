"""``python: module:attribute``: found beside the contract or at the root, never another file of the same name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_saliency.contracts.imports import call, make_importable
from pytest_saliency.errors import SaliencyError


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    modules, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_code_beside_the_contract_wins_over_the_root(tmp_path: Path) -> None:
    near, root = tmp_path / "contracts", tmp_path
    near.mkdir()
    (near / "own_models.py").write_text("def build(n=1): return ('near', n)")
    (root / "own_models.py").write_text("def build(n=1): return ('root', n)")
    (root / "only_root.py").write_text("class Zoo:\n    @staticmethod\n    def build(): return 'zoo'")
    undo = make_importable((near, root))
    assert call("own_models:build", {"n": 3}, (near, root)) == ("near", 3)
    assert call("only_root:Zoo.build", {}, (near, root)) == "zoo"
    undo()
    assert not {str(near), str(root)} & set(sys.path)


def test_a_namesake_from_another_folder_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "twin_module.py").write_text(f"def build(): return '{name}'")
    make_importable((tmp_path / "a",))
    assert call("twin_module:build", {}, (tmp_path / "a",)) == "a"
    make_importable((tmp_path / "b",))
    with pytest.raises(SaliencyError, match=r"'twin_module' was already imported from .*a.twin_module\.py"):
        call("twin_module:build", {}, (tmp_path / "b",))


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("no_such_module_here:build", "there is no module 'no_such_module_here' in .*, nor is one"),
        ("some_module:biuld", "module 'some_module' has no attribute 'biuld'"),
        ("some_module:LIMIT", "some_module:LIMIT is of type int; it must be a function"),
    ],
)
def test_problems_are_sentences(tmp_path: Path, target: str, sentence: str) -> None:
    (tmp_path / "some_module.py").write_text("LIMIT = 3")
    make_importable((tmp_path,))
    with pytest.raises(SaliencyError, match=sentence):
        call(target, {}, (tmp_path,))


def test_an_import_that_fails_inside_the_users_code_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "needs_more.py").write_text("import a_package_that_is_not_there")
    make_importable((tmp_path,))
    with pytest.raises(SaliencyError, match=r"NotFoundError at .*needs_more\.py:1: .*a_package_that_is_not_there"):
        call("needs_more:build", {}, (tmp_path,))
