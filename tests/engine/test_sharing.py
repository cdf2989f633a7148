"""Within a run: whose passes are shared, whose are not, and what is let go of when."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Subject
from pytest_saliency.engine.remembered import CANARY
from pytest_saliency.errors import DeviceError
from pytest_saliency.session import REMEMBERED, Saliency, Settings

from .counted import COUNT, PICTURES, SEEN, Counted
from .nets import ConvNet, seed_weights

SETTINGS = Settings("cpu", 8, "none", True)


@pytest.fixture(autouse=True)
def _seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seen.txt").write_text("")
    monkeypatch.setenv(SEEN, str(tmp_path / "seen.txt"))


def seen(tmp_path: Path) -> int:
    return len((tmp_path / "seen.txt").read_text().split())


def net(cls: type[ConvNet] = Counted) -> ConvNet:
    made = seed_weights(cls(), 3).eval()
    assert isinstance(made, ConvNet)
    return made


def cases(count: int = COUNT) -> Cases:
    return Cases.from_arrays(PICTURES[:count], [i % 5 for i in range(count)])


# -- what is shared -----------------------------------------------------------------------------------------------


def test_subjects_that_read_one_model_alike_share_everything_under_their_own_names(tmp_path: Path) -> None:
    session, model = Saliency(SETTINGS), net()
    one = session.explain(Subject(model, layer="act2", name="one"), cases())
    two = session.explain(Subject(model, layer="act2", name="two"), cases())
    first = [one.maps("case"), one.maps_jittered("gradcam")]
    second = [two.maps("case"), two.maps_jittered("gradcam")]
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert seen(tmp_path) == 2 + 2 * COUNT
    assert (one.subject.name, two.subject.name) == ("one", "two")
    assert one.identity()["name"] == "one"
    assert two.identity()["name"] == "two"
    assert one.costs()["id"] == two.costs()["id"]


def test_maps_that_one_brings_in_are_not_the_others() -> None:
    session, model = Saliency(SETTINGS), net()
    one = session.explain(Subject(model, layer="act2", name="one"), cases(4))
    one.add_maps("mine", np.ones((4, 2, 2), np.float32))
    two = session.explain(Subject(model, layer="act2", name="two"), cases(4))
    two.add_maps("mine", np.full((4, 2, 2), 2.0, np.float32))
    assert float(one.maps("mine").values.max()) == 1
    assert float(two.maps("mine").values.max()) == 2


@pytest.mark.parametrize(
    "other",
    [
        lambda model: Subject(model, layer="act1"),
        lambda model: Subject(model, layer="act2", preprocess={"mean": [0.5] * 3, "std": [0.5] * 3}),
        lambda model: Subject(model, layer="act2", contrast={"select": "logits", "k": 1}),
        lambda model: Subject(model, layer="act2", output=lambda scores: scores * 2),
        lambda model: Subject(net(), layer="act2"),
    ],
    ids=["layer", "preprocess", "contrast", "output", "model"],
)
def test_other_readings_share_nothing(other: Callable[[nn.Module], Subject]) -> None:
    session, model = Saliency(SETTINGS), net()
    one = session.explain(Subject(model, layer="act2"), cases(4))
    assert session.explain(other(model), cases(4)).costs()["id"] != one.costs()["id"]
    assert session.explain(Subject(model, layer="act2"), cases(5)).costs()["id"] != one.costs()["id"]


# -- a model that changes -----------------------------------------------------------------------------------------


def scores(session: Saliency, model: nn.Module) -> Tensor:
    return session.explain(Subject(model, layer="act2"), cases(8)).logits.clone()


FACTOR = 1.0


def scaled(values: Tensor) -> Tensor:
    return values * FACTOR


class Helped(ConvNet):
    """Its forward calls a function of its module, and reads an attribute."""

    power = 1

    def forward(self, x: Tensor) -> Tensor:
        return scaled(super().forward(x)) * self.power


def _trained(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        model.fc.weight.mul_(2)  # type: ignore[operator, union-attr]


def _forward(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "forward", lambda x: 2 * Helped.forward(model, x))  # type: ignore[arg-type]


def _helper(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "scaled", lambda values: 2 * values)


def _number(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "FACTOR", 2.0)


def _attribute(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "power", 2, raising=False)


def _hook(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    model.register_forward_hook(lambda module, args, output: 2 * output)


@pytest.mark.parametrize("change", [_trained, _forward, _helper, _number, _attribute, _hook])
def test_a_model_that_somebody_changed_is_explained_afresh(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[nn.Module, pytest.MonkeyPatch], None]
) -> None:
    session, model = Saliency(SETTINGS), net(Helped)
    before = scores(session, model)
    change(model, monkeypatch)
    after = scores(session, model)
    assert not torch.allclose(before, after)
    assert torch.equal(after, scores(Saliency(SETTINGS), model))
    monkeypatch.undo()
    assert torch.equal(scores(session, model), scores(Saliency(SETTINGS), model))


class Restless(Counted):
    """Keeps what it saw last, and counts."""

    last: Any = None
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x.detach().clone()
        return super().forward(x) * getattr(self, "power", 1)


def test_a_model_that_writes_to_itself_is_looked_at_again_and_shares(tmp_path: Path) -> None:
    session, model = Saliency(SETTINGS), net(Restless)
    first = session.explain(Subject(model, layer="act2"), cases())
    _ = first.maps("case")
    assert seen(tmp_path) == 2 + COUNT
    model(torch.zeros(1, *ConvNet.image))  # a user's own call
    again = session.explain(Subject(model, layer="act2"), cases())
    assert again.maps("case") is first.maps("case")
    assert seen(tmp_path) == 2 + COUNT + 1 + CANARY
    model.power = 2  # type: ignore[assignment]
    changed = session.explain(Subject(model, layer="act2"), cases())
    assert torch.allclose(changed.logits, 2 * first.logits)


def test_a_model_that_writes_to_itself_and_now_fails_says_so_when_it_is_asked() -> None:
    session, model = Saliency(SETTINGS), net(Restless)
    _ = session.explain(Subject(model, layer="act2"), cases(4)).logits
    model.power = "two"  # type: ignore[assignment]
    changed = session.explain(Subject(model, layer="act2"), cases(4))
    with pytest.raises(Exception, match="raised TypeError"):
        _ = changed.logits


# -- what is let go of --------------------------------------------------------------------------------------------


def kept(session: Saliency, contract: str, fixture: object = None) -> weakref.ref[nn.Module]:
    """Explain a model as a contract does; from a fixture, or of its own."""

    def make() -> Subject:
        return Subject(net() if fixture is None else fixture, layer="act2")  # type: ignore[arg-type]

    subject = session.shared((contract, "model", "m"), (fixture, None), make)
    images = session.shared((contract, "cases", "{}"), (None,), lambda: cases(4))
    _ = session.explain(subject, images).maps("gradcam")
    return weakref.ref(subject.model)


def test_a_contracts_own_model_goes_with_the_contract() -> None:
    session = Saliency(SETTINGS)
    first, second = kept(session, "a.saliency.yaml"), kept(session, "b.saliency.yaml")
    session.forget("a.saliency.yaml")
    gc.collect()
    assert first() is None
    assert second() is not None
    session.forget("b.saliency.yaml")
    gc.collect()
    assert second() is None


def test_a_fixtures_model_stays_for_the_tests_that_come(tmp_path: Path) -> None:
    session, model = Saliency(SETTINGS), net()
    _ = kept(session, "a.saliency.yaml", model)
    session.forget("a.saliency.yaml")
    count = seen(tmp_path)
    _ = session.explain(Subject(model, layer="act2", name="test"), cases(4)).maps("case")
    assert seen(tmp_path) == count


def test_a_model_that_a_test_explains_too_stays_though_the_contract_is_done(tmp_path: Path) -> None:
    """A ``python:`` function may return the very object that a test uses."""
    session, model = Saliency(SETTINGS), net()
    subject = session.shared(("a", "model", "m"), (None, None), lambda: Subject(model, layer="act2"))
    _ = session.explain(subject, cases(4)).maps("gradcam")
    mine = session.explain(Subject(model, layer="act2"), cases(4))
    session.forget("a")
    count = seen(tmp_path)
    assert session.explain(mine.subject, mine.cases) is mine
    _ = mine.maps("case")
    assert seen(tmp_path) == count


def test_there_is_an_end_to_what_is_kept() -> None:
    session = Saliency(SETTINGS)
    models = []
    for _ in range(REMEMBERED + 3):
        model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        session.explain(Subject(model, layer="0"), cases(2))
        models.append(weakref.ref(model))
        del model
    gc.collect()
    alive = [reference() is not None for reference in models]
    assert alive == [False] * 3 + [True] * REMEMBERED


def test_an_explanation_that_cannot_begin_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    session, model = Saliency(SETTINGS), net()

    def lost(*_: object) -> None:
        raise DeviceError("the device is gone")

    with monkeypatch.context() as patch:
        patch.setattr("pytest_saliency.engine.explained.resolve_device", lost)
        for _ in range(2):
            with pytest.raises(DeviceError, match="the device is gone"):
                session.explain(Subject(model, layer="act2"), cases(2))
    assert session.explain(Subject(model, layer="act2"), cases(2)).logits.shape == (2, 5)


def test_the_pictures_are_many_enough_for_a_sample_to_be_one() -> None:
    assert COUNT > CANARY
    assert math.ceil(COUNT / 8) > 1
