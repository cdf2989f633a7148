"""The cache of passes as its user meets it: what is believed, what is said where it is not, options, broken folders."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pytest_saliency.engine.remembered import CANARY

from .counted import HEAD, HELPER, IMAGES, SENSITIVE, Repository, Run, make_repository
from .texts import DRIFT, FAITHFUL, Write

CHANGED = (
    "what was kept of model '{}' from an earlier run was computed again: its weights and source are the same, but it no"
    " longer gives the same scores or maps (its forward was changed in memory or in a module that it calls)."
)


@pytest.fixture
def repository(pytester: pytest.Pytester, write: Write) -> Repository:
    return make_repository(pytester, write, SENSITIVE, FAITHFUL, DRIFT)


@pytest.fixture
def small(pytester: pytest.Pytester, write: Write) -> Repository:
    """One model, one pass and its repeat: two entries."""
    return make_repository(pytester, write, SENSITIVE)


def numbers(run: Run) -> object:
    """The records, without the model's source, which a change in a helper leaves alone anyway."""
    found = run.numbers["records"]
    assert all(record["verdict"] != "ERROR" for record in found)
    return found


# -- is it still the same model? ----------------------------------------------------------------------------------


def test_a_helper_that_was_edited_makes_another_address_and_nothing_is_said(repository: Repository) -> None:
    old = repository.run()
    (repository.path / "helper.py").write_text("def scale(scores):\n    return scores * 1.5\n")
    fresh = repository.run("--saliency-no-cache")
    new = repository.run()
    assert numbers(new) == numbers(fresh) != numbers(old)
    assert new.said == []
    assert (new.images("canary"), new.images("capture")) == (0, 2 * IMAGES)
    (repository.path / "helper.py").write_text(HELPER)
    assert numbers(repository.run()) == numbers(old)
    assert repository.seen().total() == 2 * CANARY


def test_a_change_that_no_source_tells_of_is_seen_and_said_and_nothing_is_mixed(repository: Repository) -> None:
    old = repository.run()
    (repository.path / "hidden.txt").write_text("scores.flip(1) * 0.5")
    fresh = repository.run("--saliency-no-cache")
    new = repository.run()
    assert numbers(new) == numbers(fresh) != numbers(old)
    assert sorted(new.said) == [CHANGED.format("cheat"), CHANGED.format("clean")]
    for stage in ("capture", "jitter", "score"):
        assert new.images(stage) == fresh.images(stage) > 0
    again = repository.run()
    assert numbers(again) == numbers(fresh)
    assert again.said == []
    assert repository.seen().total() == 2 * CANARY


def test_the_same_with_workers_says_it_once_and_shares_the_new_passes(repository: Repository) -> None:
    repository.run()
    (repository.path / "hidden.txt").write_text("scores.flip(1) * 0.5")
    new = repository.run("-n2", process=True)
    assert sorted(new.said) == [CHANGED.format("cheat"), CHANGED.format("clean")]
    assert (new.images("capture"), new.images("jitter")) == (2 * IMAGES, IMAGES)
    assert numbers(new) == numbers(repository.run("--saliency-no-cache"))


def test_a_model_that_became_random_is_an_error_and_not_a_cached_verdict(small: Repository) -> None:
    assert numbers(small.run())
    (small.path / "random").touch()
    run = small.run()
    assert {record["verdict"] for record in run.records} == {"ERROR"}
    assert all("scores one image differently from call to call" in record["headline"] for record in run.records)
    (small.path / "random").unlink()
    assert numbers(small.run()) == numbers(small.run("--saliency-no-cache"))


def test_a_forward_patched_in_memory_during_the_run_is_explained_afresh(small: Repository) -> None:
    """A test that breaks the model to see a check fail must not be given the maps of the whole one."""
    small.pytester.makepyfile(
        test_mutant="""
        from pytest_saliency import Subject

        def test_mutant(saliency, clean_model, toy_cases, monkeypatch):
            subject = Subject(clean_model, layer="features")
            whole = saliency.explain(subject, toy_cases).logits
            usual = clean_model.forward
            monkeypatch.setattr(clean_model, "forward", lambda pixels: usual(pixels) * 0.5)
            assert saliency.explain(subject, toy_cases).logits.equal(whole * 0.5)
            monkeypatch.undo()
            assert saliency.explain(subject, toy_cases).logits.equal(whole)
        """
    )
    assert small.run("toy.saliency.yaml", "test_mutant.py").outcomes["passed"] == 4


# -- entries that are no use --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "format", "other"])
def test_damaged_entries_are_recomputed_with_one_warning(small: Repository, damage: str) -> None:
    first = small.run()
    entries = small.entries()
    assert len(entries) == 2
    contents = [path.read_bytes() for path in entries]
    for number, path in enumerate(entries):
        content = contents[number]
        made = {
            "truncated": content[:-1000],
            "empty": b"",
            "flipped": content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:],
            "format": content[:8] + (2).to_bytes(4, "little") + content[12:],
            "other": contents[1 - number],
        }
        path.write_bytes(made[damage])
    run = small.run()
    assert numbers(run) == numbers(first)
    (said,) = run.said
    assert said.startswith(f"the cache entry {small.cache}")
    assert said.endswith("; what it held is recomputed.")
    reasons = {
        "truncated": "cut short|length is wrong",
        "empty": "cut short",
        "flipped": "content is damaged",
        "format": "it has format 2, not 1",
        "other": "belongs to another computation",
    }
    assert any(reason in said for reason in reasons[damage].split("|"))
    again = small.run()
    assert again.said == []
    assert small.seen().total() == CANARY


# -- where it lies, and how large it may be -----------------------------------------------------------------------


def test_the_path_is_relative_to_the_working_directory_or_in_ini_to_the_root(small: Repository) -> None:
    small.pytester.makeini("[pytest]\nsaliency_cache = from/ini")
    (small.path / "sub").mkdir()
    os.chdir(small.path / "sub")
    small.run("--saliency-cache=mine", str(small.path))
    assert len(small.entries(small.path / "sub/mine")) == 2
    small.run(str(small.path))
    assert len(small.entries(small.path / "from/ini")) == 2
    assert small.entries() == []
    small.run("--saliency-cache=mine", str(small.path))
    assert small.seen().total() == CANARY


@pytest.mark.parametrize("ini", [False, True])
def test_no_cache_uses_nothing_and_keeps_nothing(small: Repository, ini: bool) -> None:
    if ini:
        small.pytester.makeini("[pytest]\nsaliency_no_cache = true")
    option = [] if ini else ["--saliency-no-cache"]
    for _ in range(2):
        small.run(*option, "--saliency-cache=mine")
        assert small.seen().total() == 2 * IMAGES + 2
    assert small.entries() == small.entries(small.path / "mine") == []


def test_without_pytests_cache_nothing_is_kept_unless_a_path_is_given(small: Repository) -> None:
    for options in ([], ["--saliency-cache=mine"]):
        run = small.run("-p", "no:cacheprovider", "--saliency-images=none", *options)
        assert run.said == []
        assert small.seen().total() == 2 * IMAGES + 2
    assert small.entries() == []
    assert len(small.entries(small.path / "mine")) == 2


@pytest.mark.parametrize("size", ["2", "2GiB", "-1GB", "much", "1e3MB"])
def test_a_size_that_is_none_is_an_error_with_its_option(small: Repository, size: str) -> None:
    run = small.run(f"--saliency-cache-size={size}")
    sentence = (
        f"--saliency-cache-size (or ini saliency_cache_size) must be a number with kB, MB, GB or TB; got '{size}'"
    )
    assert {record["verdict"] for record in run.records} == {"ERROR"}
    assert all(sentence in record["headline"] for record in run.records)


def test_the_least_recently_used_entries_give_way(small: Repository) -> None:
    small.run()
    (large, other) = sorted(small.entries(), key=lambda path: path.stat().st_size, reverse=True)
    past = time.time() - 1000
    for path in (large, other):
        os.utime(path, (past, past))
    limit = large.stat().st_size + other.stat().st_size + 1000
    (small.path / "helper.py").write_text("def scale(scores):\n    return scores * 1.5\n")
    run = small.run(f"--saliency-cache-size={limit / 1000:.3f}kB")
    assert run.said == []
    left = small.entries()
    assert sum(path.stat().st_size for path in left) <= limit
    assert large not in left
    small.run(f"--saliency-cache-size={limit / 1000:.3f}kB")
    assert small.seen().total() == CANARY


def test_results_that_are_too_large_for_the_cache_are_said_once(small: Repository) -> None:
    for _ in range(2):
        run = small.run("--saliency-cache-size=10kB")
        (said,) = run.said
        assert "bytes is not kept: the cache at" in said
        assert "may hold 10,000 in all" in said
    assert small.entries() == []


# -- folders and disks that do not play along ---------------------------------------------------------------------


def test_a_file_in_the_place_of_the_cache_is_said_and_left_alone(small: Repository) -> None:
    (small.path / "mine").write_text("not a folder")
    run = small.run("--saliency-cache=mine")
    assert numbers(run) == numbers(small.run("--saliency-no-cache"))
    place = small.path / "mine"
    assert run.said == [
        f"the cache at {place} cannot be written: a file is in the place of a folder; this run goes on without it."
    ]
    assert place.read_text() == "not a folder"


def test_a_file_in_the_place_of_pytests_cache_costs_time_only(small: Repository) -> None:
    (small.path / ".pytest_cache").write_text("not a folder")
    run = small.run("-W", "ignore::pytest.PytestCacheWarning", "--saliency-images=none")
    assert numbers(run) == numbers(small.run("--saliency-no-cache", "--saliency-images=none", "-p", "no:cacheprovider"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written_is_said(small: Repository) -> None:
    place = small.path / "mine"
    place.mkdir(mode=0o500)
    run = small.run("--saliency-cache=mine")
    assert numbers(run)
    assert run.said == [f"the cache at {place} cannot be written: Permission denied; this run goes on without it."]


def test_a_full_disk_costs_time_only_and_leaves_no_half_entry(small: Repository) -> None:
    conftest = small.path / "conftest.py"
    usual = conftest.read_text()
    limit = 200_000
    conftest.write_text(f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n{usual}")
    run = small.run("-n0", process=True)
    conftest.write_text(usual)  # the next run is in this process
    assert numbers(run) == numbers(small.run("--saliency-no-cache"))
    assert run.said == [f"the cache at {small.cache} cannot be written: File too large; this run goes on without it."]
    assert [path.name for path in small.cache.glob("??/*")] == []


# -- processes that die -------------------------------------------------------------------------------------------


def test_a_worker_that_dies_in_a_pass_leaves_no_lock_and_no_entry(repository: Repository) -> None:
    (repository.path / "die").touch()
    run = repository.run("-n2", process=True)
    verdicts = [record["verdict"] for record in run.records]
    assert verdicts.count("ERROR") == 1
    assert len(verdicts) == 6
    (dead,) = (record for record in run.records if record["verdict"] == "ERROR")
    assert dead["headline"] == "the worker process died while this check ran"
    assert run.said == []
    assert [path.name for path in repository.cache.glob("??/*") if path.suffix != ".entry"] == []
    whole = repository.run()
    assert whole.said == []
    assert numbers(whole) == numbers(repository.run("--saliency-no-cache"))


def test_a_worker_killed_while_it_writes_leaves_no_half_entry(repository: Repository) -> None:
    conftest = repository.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """
import os, pathlib, signal
from pytest_saliency.records.cache_entry import Packed

usual = Packed.write

def write(self, file):
    mark = pathlib.Path(__file__).with_name("kill")
    try:
        mark.unlink()
    except FileNotFoundError:
        return usual(self, file)
    file.write(self._head)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

Packed.write = write
"""
    )
    (repository.path / "kill").touch()
    run = repository.run("-n1", process=True)
    assert [record["verdict"] for record in run.records].count("ERROR") == 1
    assert run.said == []
    assert [path.suffix for path in repository.cache.glob("??/*") if path.suffix != ".entry"] == [".part"]
    whole = repository.run()
    assert whole.said == []
    assert numbers(whole) == numbers(repository.run("--saliency-no-cache"))


# -- what cannot be kept ------------------------------------------------------------------------------------------


def test_a_model_that_cannot_be_identified_is_said(pytester: pytest.Pytester, write: Write) -> None:
    head = HEAD.replace("{fixture: clean_model, layer: features}", "{fixture: opaque_subject}")
    repository = make_repository(pytester, write, SENSITIVE, head=head)
    conftest = repository.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """
class Opaque:
    def __init__(self):
        self.file = open(__file__)
    def __call__(self, pixels):
        return pixels

@pytest.fixture(scope="session")
def opaque_subject(clean_model):
    from pytest_saliency import Subject
    preprocess = Opaque()
    yield Subject(clean_model, layer="features", name="opaque", preprocess=preprocess)
    preprocess.file.close()
"""
    )
    for _ in range(2):
        run = repository.run()
        assert numbers(run)
        assert run.said == [
            "nothing was kept for model 'opaque': its preprocess, output or reshape is a callable that cannot be told"
            " from another one by its source."
        ]
        assert repository.seen().total() == 2 * IMAGES + 2


def test_the_folder_says_that_it_is_a_cache(small: Repository) -> None:
    small.run()
    names = {path.name for path in Path(small.cache).iterdir()}
    assert {".gitignore", "CACHEDIR.TAG"} <= names
