"""``pytest-saliency plot``: files that hold the plots, wherever they may not go."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from fixtures.records import hostile_document, sample_document, sample_record
from pytest_saliency.cli import main
from pytest_saliency.records.hashing import to_json
from pytest_saliency.report.plots.registry import plots_of


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["plot", *map(str, words)])


def written(folder: Path, document: dict[str, object]) -> Path:
    path = folder / "run.json"
    path.write_text(to_json(document), encoding="utf-8")
    return path


def test_every_plot_is_a_file_and_the_same_bytes_again(tmp_path: Path) -> None:
    document = sample_document()
    run = written(tmp_path, document)
    done = call(run, "-o", tmp_path / "plots")
    assert done.exit_code == 0, done.output
    files = sorted((tmp_path / "plots").iterdir())
    assert len(files) == sum(len(plots_of(record)) for record in document["records"])
    for file in files:
        assert f"wrote {file}" in done.output
        root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    without = sum(not plots_of(record) for record in document["records"])
    assert 0 < without < len(document["records"])
    assert f"{without} of {len(document['records'])} checks have nothing to plot." in done.output
    first = {file.name: file.read_bytes() for file in files}
    call(run, "-o", tmp_path / "plots")
    assert {file.name: file.read_bytes() for file in sorted((tmp_path / "plots").iterdir())} == first


def test_without_a_folder_they_go_to_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(written(tmp_path, sample_document([sample_record("class_sensitive", "PASS")])))
    assert done.exit_code == 0, done.output
    assert {path.parent.name for path in tmp_path.rglob("*.svg")} == {"plots"}


def test_a_file_says_which_check_it_is_of_and_its_verdict(tmp_path: Path) -> None:
    call(written(tmp_path, sample_document()), "-k", "EIGENCAM", "-o", tmp_path / "plots")
    (blur, mean) = sorted((tmp_path / "plots").iterdir())
    assert blur.name.endswith("-advantage-blur.svg")
    assert mean.name.endswith("-advantage-mean.svg")
    text = " ".join(ElementTree.fromstring(blur.read_text()).itertext())
    assert "Advantage of an image's own region, blur fill" in text
    assert "faithful-eigencam[eigencam]:FAIL" in text.replace(" ", ""), "it is wrapped"


def test_two_records_of_one_node_do_not_overwrite_each_other(tmp_path: Path) -> None:
    one = sample_record(node="test_a.py::test_b")
    other = sample_record(node="test_a.py::test_b", draw=1)
    call(written(tmp_path, sample_document([one, other])), "-o", tmp_path / "plots")
    assert len(list((tmp_path / "plots").iterdir())) == len(plots_of(one)) + len(plots_of(other))


def test_hostile_names_stay_in_the_folder(tmp_path: Path) -> None:
    run = written(tmp_path, hostile_document())
    done = call(run, "-o", tmp_path / "deep" / "plots")
    assert done.exit_code == 0, done.output
    everything = {path for path in tmp_path.rglob("*") if path.is_file()} - {run}
    assert everything
    assert {path.parent for path in everything} == {tmp_path / "deep" / "plots"}
    for path in everything:
        assert path.name[0].isalnum()
        ElementTree.fromstring(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (to_json(sample_document([])), "nothing to plot: "),
        (to_json(sample_document([sample_record("faithful", "ERROR")])), "nothing to plot: the one check of"),
        ("{", "is not the JSON of a run"),
        ("[1]", "is not a run's records"),
        (json.dumps({"format": 1, "run": {}, "records": []}), "has format 1"),
    ],
)
def test_what_cannot_be_plotted_is_a_sentence(tmp_path: Path, content: str, said: str) -> None:
    run = tmp_path / "run.json"
    run.write_text(content, encoding="utf-8")
    done = call(run, "-o", tmp_path / "plots")
    assert done.exit_code == 1
    assert said in done.output
    assert done.output.startswith("Error: ")
    assert done.output.strip().endswith(".")
    assert not (tmp_path / "plots").exists()


def test_a_text_that_no_check_has_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    document = sample_document()
    run = written(tmp_path, document)
    done = call(run, "-k", "nowhere", "-o", tmp_path / "plots")
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: nothing to plot: none of the {len(document['records'])} checks")
    assert "'nowhere'" in done.output
    assert call(tmp_path / "no.json", "-o", tmp_path).exit_code == 2


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    run = written(tmp_path, sample_document())
    (tmp_path / "file").write_text("x")
    done = call(run, "-o", tmp_path / "file" / "below")
    assert done.exit_code == 1
    assert "Traceback" not in done.output
    assert str(tmp_path / "file") in done.output
