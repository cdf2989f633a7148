"""A real Lightning module and what wraps one: the maps of the network inside, whatever the method."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Subject, explain
from pytest_saliency.contracts.states import WeightsError
from pytest_saliency.errors import SubjectError
from tests.engine.nets import pictures, seed_weights
from tests.engine.test_wrappers import Distributed

from .conftest import Make

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytorch_lightning as pl

METHODS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case", "eigencam", "ablationcam", "scorecam")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)).mean((2, 3)))


class Lit(pl.LightningModule):
    """As a template has it: hyperparameters, a weighted loss, a forward that gives scores."""

    def __init__(self, lr: float = 0.1, data: Path = Path("data")) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = Net()
        self.loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        return self.loss(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"])


class Silent(Lit):
    """Everything is in training_step; forward is Lightning's own, which raises."""

    forward = pl.LightningModule.forward


class Losing(Lit):
    """Forward returns the loss."""

    def forward(self, x: Tensor) -> Tensor:
        return self.loss(self.net(x), torch.zeros(len(x), dtype=torch.long))


def lit_of(kind: type[Lit] = Lit) -> Any:
    return seed_weights(kind(), 4).eval()


def run(model: Any, **settings: Any) -> Explained:
    cases = Cases.from_arrays(pictures(4, (3, 12, 12)), [0, 1, 2, 0])
    return explain(Subject(model, **settings), cases, device="cpu", batch_size=4)


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def parallel(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.DataParallel(model)


@pytest.fixture(scope="module")
def plain() -> Explained:
    return run(copy.deepcopy(lit_of().net), layer="body")


@pytest.mark.parametrize(
    "wrap",
    [lambda lit: lit, compiled, parallel, Distributed, lambda lit: parallel(compiled(lit))],
    ids=["lightning", "compiled", "parallel", "distributed", "parallel compiled"],
)
def test_every_method_gives_the_maps_of_the_network_inside(plain: Explained, wrap: Any) -> None:
    found = run(wrap(lit_of()), layer="net.body")
    for method in METHODS:
        torch.testing.assert_close(found.maps(method).values, plain.maps(method).values, rtol=1e-5, atol=1e-7)
        assert not found.maps(method).warnings or found.maps(method).warnings == plain.maps(method).warnings


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Silent, r"model 'Silent', given .* images of shape .* Give it a forward that returns class scores"),
        (
            Losing,
            r"the logits of model 'Losing' have shape \(.*expected one row of floating-point class scores an image",
        ),
    ],
)
def test_a_forward_that_gives_no_scores(kind: type[Lit], sentence: str) -> None:
    with pytest.raises(SubjectError, match=sentence) as caught:
        _ = run(lit_of(kind), layer="net.body").logits
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """What a Trainer writes after an epoch: optimizer, loops, callbacks, hyperparameters with a path among them."""
    folder = tmp_path_factory.mktemp("lightning")
    lit = Lit()
    data = torch.utils.data.TensorDataset(torch.rand(4, 3, 12, 12), torch.arange(4) % 3)
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=folder, **quiet)
        trainer.fit(lit, torch.utils.data.DataLoader(data, batch_size=4))
        trainer.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt", lit.net


BUILD = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)).mean((2, 3)))
"""


def test_a_checkpoint_of_the_trainer(
    make: Make, tmp_path: Path, checkpoint: tuple[Path, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, net = checkpoint
    held = torch.load(file, weights_only=False)
    assert {"optimizer_states", "hyper_parameters", "loops"} <= held.keys()
    assert held["hyper_parameters"]["data"] == Path("data"), "which torch refuses to read unless it is told to"
    (tmp_path / "net_of_lightning.py").write_text(BUILD)
    monkeypatch.syspath_prepend(tmp_path)
    made = make(python="net_of_lightning:Net", weights=str(file))
    assert all(torch.equal(value, made.model.state_dict()[key]) for key, value in net.state_dict().items())
    assert made.source.endswith("(under 'state_dict') (prefix 'net.' removed) (left out: loss.weight)")
    torch.save({**held, "hyper_parameters": {"act": nn.ReLU()}}, tmp_path / "object.ckpt")
    with pytest.raises(WeightsError, match=r"it holds an object of type torch\.nn\.modules.*Save the state alone"):
        make(python="net_of_lightning:Net", weights="object.ckpt")
