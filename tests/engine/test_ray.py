"""Passes over a Ray cluster: the bytes of a run in one process, also when a worker is lost, and nothing left behind.

One cluster for all of it, because it takes seconds to start; tests that need none are in test_ray_refusals.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch

import pytest_saliency
from pytest_saliency.checks.curves import curves
from pytest_saliency.engine.executors.on_ray import OnRay
from pytest_saliency.engine.explained import Explained, explain
from pytest_saliency.errors import SaliencyError, SubjectError

from .ray_models import BATCH, IMAGES, Dying, Failing, Locked, Small, bright_cases, cases, subject_of

METHODS = ("gradcam", "case", "scorecam", "tests.engine.ray_models:gradient")


def explained(subject: Any, over: Any, executor: OnRay | None) -> Explained:
    return explain(subject, over, device="cpu", batch_size=BATCH, threads=1, executor=executor)


def same(one: Explained, two: Explained, methods: tuple[str, ...] = METHODS) -> None:
    assert torch.equal(one.logits, two.logits)
    for method in methods:
        for target in ("top1", "label", "3"):
            a, b = one.maps(method, target), two.maps(method, target)
            assert torch.equal(a.values, b.values), (method, target)
            assert a.status.tolist() == b.status.tolist()


def sentence_of(run: Any) -> str:
    with pytest.raises(SaliencyError) as caught:
        run()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_cluster_gives_the_bytes_of_one_process(tmp_path: Path) -> None:
    executor = OnRay.at("local", "cpu")
    try:
        executor.pool.size = 2
        _same_bytes(executor)
        _a_lost_worker(executor, tmp_path / "marker")
        _errors(executor)
        workers = [int(one) for one in _processes(executor)]
        assert len(workers) == 2
        assert os.getpid() not in workers
    finally:
        executor.close()
    import ray

    assert not ray.is_initialized()
    assert _gone(workers)


def _same_bytes(executor: OnRay) -> None:
    here = explained(subject_of(Small()), cases(), None)
    there = explained(subject_of(Small()), cases(), executor)
    same(here, there)
    for method in METHODS:
        a, b = here.maps_jittered(method), there.maps_jittered(method)
        assert a is not None
        assert b is not None
        assert torch.equal(a.values, b.values), method
    assert here.channel_activity(0.01).counts.tolist() == there.channel_activity(0.01).counts.tolist()
    counted = [{name: stage["images"] for name, stage in one.costs()["stages"].items()} for one in (here, there)]
    assert counted[1]["capture"] == counted[0]["capture"] == {"capture": 2 * IMAGES}  # once more for class 3
    assert counted[1]["scorecam"] == counted[0]["scorecam"]
    told = {"name": "ray", "workers": 2, "device": "cpu", "threads": 1}
    assert (there.costs()["executor"], here.costs().get("executor")) == (told, None)
    changed = [curves(one, "gradcam", "top1", "blur", 3).deletion["log_odds"] for one in (here, there)]
    assert changed[0].tolist() == changed[1].tolist()
    # A contrast set that needs the classifier's rows, which are read in this process.
    contrast = {"select": "similar_weights", "k": 2}
    one, two = (explained(subject_of(Small(), **contrast), cases(), who) for who in (None, executor))
    same(one, two, ("case",))


def _a_lost_worker(executor: OnRay, marker: Path) -> None:
    here = explained(subject_of(Small()), cases(), None)
    before = set(_processes(executor))
    marker.touch()
    same(here, explained(subject_of(Dying(marker)), cases(), executor), ("gradcam",))
    assert not marker.exists(), "no worker died"
    after = _processes(executor)
    assert len(before & set(after)) == 1


def _errors(executor: OnRay) -> None:
    over = bright_cases((9, 30, 41))

    def logits(who: OnRay | None) -> Any:
        return explained(subject_of(Failing()), over, who).logits

    local, spread = (sentence_of(lambda who=who: logits(who)) for who in (None, executor))
    assert "raised ValueError at " in local
    assert local == spread
    with pytest.raises(SubjectError, match=r"^model 'small' cannot be sent to Ray workers, because pickling it raised"):
        _ = explained(subject_of(Locked()), cases(), executor).logits
    # The workers go on after an error.
    assert len(explained(subject_of(Small()), cases(), executor).logits) == IMAGES


def _processes(executor: OnRay) -> list[str]:
    """Return the process ids of the workers, once all of them are there."""
    spread = executor.pool.spread()
    while executor.pool._starting or len(executor.pool._ready) < executor.pool.size:
        spread.pump()
    members = executor.pool._ready
    return [about["process"] for about in executor.cluster.ray.get([one.actor.about.remote() for one in members])]


def _gone(processes: list[int], within: float = 20.0) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        if not any(Path(f"/proc/{one}").exists() for one in processes):
            return True
        time.sleep(0.1)
    return False


CONTRACT = """\
saliency: 1
contract: spread
models: {small: {python: "tests.engine.ray_models:Small", layer: conv}}
cases: {python: "tests.engine.ray_models:cases"}
defaults: {model: small}
checks:
  - {id: alive, kind: not_vacuous, method: [gradcam, layercam], max_share: 0.9}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "spread.saliency.yaml").write_text(CONTRACT, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return tmp_path


def test_a_session_starts_a_cluster_and_leaves_nothing_behind(repository: Path) -> None:
    root = str(Path(pytest_saliency.__file__).parents[1])
    mark = uuid4().hex
    environment = {**os.environ, "PYTHONPATH": root, "SALIENCY_MARK": mark, "OMP_NUM_THREADS": "1"}
    words = ["spread.saliency.yaml", "-q", "-p", "no:cacheprovider", "--saliency-batch=8", "--saliency-json=run.json"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "--saliency-ray"],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    document = json.loads((repository / "run.json").read_text(encoding="utf-8"))
    assert [record["verdict"] for record in document["records"]] != []
    for record in document["records"]:
        (work,) = record["execution"]["work"].values()
        assert work["executor"]["name"] == "ray"
    assert "Traceback" not in done.stdout + done.stderr
    until = time.monotonic() + 20
    while (left := _marked(mark)) and time.monotonic() < until:
        time.sleep(0.2)
    assert left == []


def _marked(mark: str) -> list[str]:
    """Return the command lines of processes that were started, by whomever, with the mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found
