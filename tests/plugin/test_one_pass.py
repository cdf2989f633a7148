"""One pass a subject: contracts and tests, workers and later runs share it; counted by what the models saw."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from pytest_saliency.engine.remembered import CANARY

from .counted import IMAGES, SENSITIVE, Repository, Run, contrasted, make_repository, originals
from .texts import DRIFT, FAITHFUL, Write

OTHERS = """\
  - id: others
    kind: class_sensitive
    method: [scorecam, ablationcam, eigencam, random_model, edges, "counted:gradient"]
  - id: compared
    kind: faithful
    method: layercam
    top_k: 0.06
    min_advantage: 0.0
    against: [gradcam, random_model]
"""

TESTS = """
import counted, toy
from pytest_saliency import Subject, assert_class_sensitive, assert_no_semantic_drift

def test_the_same_model(saliency, clean_model):
    subject = Subject(clean_model, layer="features", name="another name")
    explained = saliency.explain(subject, toy.cases())
    assert_class_sensitive(explained, method="layercam")
    assert explained.maps("case[elementwise]", "label").method.startswith("case[")

def test_both(saliency, clean_model, cheat_model, toy_cases):
    both = [saliency.explain(Subject(m, layer="features"), toy_cases) for m in (clean_model, cheat_model)]
    assert_no_semantic_drift(*both, method="gradcam", max_iou_drop=0.9)
"""


@pytest.fixture
def repository(pytester: pytest.Pytester, write: Write) -> Repository:
    made = make_repository(pytester, write, SENSITIVE, FAITHFUL, DRIFT + "    confirm: false\n")
    pytester.makepyfile(test_release=TESTS)
    return made


def once_each(digests: list[str], found: Counter[str]) -> None:
    assert {digest: found[digest] for digest in digests} == dict.fromkeys(digests, 1)


def scored_in(run: Run) -> int:
    """How many changed images the checks of faithfulness needed."""
    counts = [record["execution"]["scored_images"] for record in run.records if record["kind"] == "faithful"]
    assert len(counts) == 2
    assert min(counts) > IMAGES
    return sum(counts)


@pytest.mark.parametrize(
    "order", [("toy.saliency.yaml", "test_release.py"), ("test_release.py", "toy.saliency.yaml")], ids=["yaml", "py"]
)
def test_contracts_and_tests_share_one_pass_in_any_order(repository: Repository, order: tuple[str, str]) -> None:
    run = repository.run(*order, "--saliency-no-cache")
    assert run.outcomes == {"passed": 7, "failed": 1}
    clean, cheat = repository.seen("clean"), repository.seen("cheat")
    for found in (clean, cheat):
        found.subtract(originals()[:2])  # the layer is found with the first two
        once_each(originals(), found)
    once_each(contrasted(), clean)
    assert clean.total() == 2 * IMAGES + scored_in(run)
    assert cheat.total() == IMAGES
    assert len(run.works) == 2


def test_workers_do_not_repeat_each_others_passes(repository: Repository) -> None:
    alone = repository.run("--saliency-no-cache", "-n0")
    run = repository.run("-n2", "--dist=load", process=True)
    assert run.outcomes == {"passed": 7, "failed": 1}
    assert run.numbers == alone.numbers
    assert (run.images("capture"), run.images("jitter")) == (2 * IMAGES, IMAGES)
    once_each(contrasted(), repository.seen("clean"))
    workers = len(run.works)
    assert 2 < workers <= 4, "both workers had both models or nearly"
    # One worker makes the pass of a model, the other looks at a sample of it.
    assert run.images("canary") == CANARY * (workers - 2)
    assert sum(repository.seen().values()) == sum(
        sum(sum(stage["images"].values()) for stage in work["stages"].values()) for work in run.works.values()
    )
    assert run.said == []


def test_a_later_run_computes_a_sample_and_gives_the_same_bytes(pytester: pytest.Pytester, write: Write) -> None:
    repository = make_repository(pytester, write, SENSITIVE, FAITHFUL, DRIFT, OTHERS)
    fresh = repository.run("--saliency-no-cache")
    first = repository.run()
    assert first.numbers == fresh.numbers
    second = repository.run()
    assert second.numbers == fresh.numbers
    assert {len(work["stages"]) for work in second.works.values()} == {1, 2}
    assert repository.seen("cheat").total() == CANARY
    own = second.images("canary: counted:gradient")
    assert repository.seen("clean").total() == CANARY + own
    assert 0 < own <= 3 * 32, "a batch for each class and the repeat"
    workers = repository.run("-n2", process=True)
    assert workers.numbers == fresh.numbers
    assert workers.images("capture") == workers.images("score") == workers.images("scorecam") == 0
    for run in (first, second, workers):
        assert run.said == []


def test_a_part_of_the_checks_finds_what_all_of_them_left(pytester: pytest.Pytester, write: Write) -> None:
    """Other files plan other methods; the passes are the same."""
    repository = make_repository(pytester, write, OTHERS)
    text = (repository.path / "toy.saliency.yaml").read_text()
    (repository.path / "part.saliency.yaml").write_text(text[: text.index("checks:")] + "checks:\n" + SENSITIVE)
    repository.run()
    repository.run("part.saliency.yaml")
    assert repository.seen().total() == CANARY


def test_two_sessions_on_one_cache_share_the_work(repository: Repository) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--saliency-cache=shared"]
    processes = [
        subprocess.Popen([*command, f"--saliency-json=run{n}.json"], cwd=repository.path, stdout=subprocess.PIPE)
        for n in (1, 2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert b"7 passed" in output
        assert b"1 failed" in output
    once_each(contrasted(), repository.seen("clean"))
    one, two = (Run(repository.path / f"run{n}.json") for n in (1, 2))
    assert one.numbers["records"] == two.numbers["records"]
    assert one.images("capture") + two.images("capture") == 2 * IMAGES
    assert one.images("score") + two.images("score") == scored_in(one)
