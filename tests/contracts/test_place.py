"""Paths of a contract: said without ".." wherever that is the same place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_saliency.contracts.models import CasesSpec
from pytest_saliency.contracts.place import Place
from pytest_saliency.contracts.sources import make_cases
from pytest_saliency.errors import CasesError


def place(folder: Path) -> Place:
    return Place(folder, folder.parent, False, {})


def test_a_path_is_told_as_one_would_write_it(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    assert place(tmp_path / "contracts").path("../weights/x.pt") == tmp_path / "weights/x.pt"
    with pytest.raises(CasesError) as caught:
        make_cases(CasesSpec.model_validate({"csv": "../data/x.csv"}), place(tmp_path / "contracts"))
    assert str(tmp_path / "data/x.csv") in str(caught.value)
    assert ".." not in str(caught.value).partition(": ")[0]


def test_a_record_names_an_image_folder_without_dots(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "contracts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "data" / name / "1.png")
    cases = make_cases(CasesSpec.model_validate({"imagefolder": "../data"}), place(tmp_path / "contracts"))
    assert str(tmp_path / "data") in cases.source
    assert ".." not in cases.source


def test_a_link_on_the_way_keeps_its_meaning(tmp_path: Path) -> None:
    (tmp_path / "far" / "contracts").mkdir(parents=True)
    (tmp_path / "near").symlink_to(tmp_path / "far" / "contracts")
    (tmp_path / "far" / "x.pt").write_bytes(b"1")
    assert place(tmp_path / "near").path("../x.pt").read_bytes() == b"1"
