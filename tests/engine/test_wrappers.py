"""Models in wrappers: what is explained is the module inside, and its layers go by their own names."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_saliency import Cases, Explained, Subject, explain
from pytest_saliency.engine.wrappers import layer_names, on_one_device, unwrapped
from pytest_saliency.errors import SubjectError

from .nets import pictures, seed_weights

LABELS = [0, 1, 2, 0]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)).mean((2, 3)))


class Lit(nn.Module):
    """The shape of a Lightning module: the network inside, training steps beside it, a trainer that is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Net()
        self.criterion = nn.CrossEntropyLoss()

    @property
    def trainer(self) -> Any:
        raise RuntimeError("not attached to a Trainer")

    def training_step(self, batch: Any, index: int) -> Tensor:
        return self.criterion(self(batch[0]), batch[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def seeded(model: nn.Module) -> Any:
    return seed_weights(model, 4).eval()


def run(model: nn.Module, **settings: Any) -> Explained:
    return explain(Subject(model, **settings), Cases.from_arrays(pictures(4, (3, 12, 12)), LABELS), device="cpu")


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def parallel(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.DataParallel(model)


class Distributed(nn.parallel.DistributedDataParallel):
    """Without a process group, which the constructor asks for."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("would wait for the other processes")


WRAPPERS = [
    compiled,
    parallel,
    Distributed,
    lambda model: compiled(parallel(model)),
    lambda model: parallel(compiled(model)),
]
IDS = ["compiled", "parallel", "distributed", "compiled parallel", "parallel compiled"]


@pytest.mark.parametrize("wrap", WRAPPERS, ids=IDS)
@pytest.mark.parametrize("layer", ["auto", "body.0", "_orig_mod.body.0", "module.body.0", "module._orig_mod.body.0"])
def test_a_wrapped_model_gives_the_maps_of_the_model(wrap: Any, layer: str) -> None:
    plain = seeded(Net())
    expected = run(plain, layer="body.0" if layer != "auto" else "auto")
    found = run(wrap(copy.deepcopy(plain)), layer=layer)
    assert found.layer.name == expected.layer.name
    assert torch.equal(found.maps("case").values, expected.maps("case").values)
    assert found.subject.name == "Net"
    one, two = found.identity(), expected.identity()
    assert one == two


@pytest.mark.parametrize("wrap", WRAPPERS, ids=IDS)
def test_the_module_inside_is_found(wrap: Any) -> None:
    plain = Net()
    assert unwrapped(wrap(plain)) is plain


def test_a_compiled_model_that_has_run_works_and_runs_compiled_afterwards() -> None:
    plain = seeded(Net())
    graphs: list[int] = []

    def backend(graph: Any, example: Any) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    wrapped: Any = torch.compile(copy.deepcopy(plain), backend=backend)
    image = torch.from_numpy(pictures(4, (3, 12, 12)))
    with torch.no_grad():
        expected = wrapped(image)
        before = len(graphs)
        assert before > 0
        found = run(wrapped, layer="body")
        assert torch.equal(found.maps("gradcam").values, run(plain, layer="body").maps("gradcam").values)
        assert torch.equal(wrapped(image), expected)
    assert len(graphs) == before  # neither explained by way of the compiler, nor compiled anew


class Holds(nn.Module):
    """A wrapper in the middle."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.net = wrap(Net())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize(("wrap", "own"), [(compiled, "net._orig_mod.body.0"), (parallel, "net.module.body.0")])
def test_a_wrapper_inside_may_be_left_out_of_a_name(wrap: Any, own: str) -> None:
    plain, wrapped = seeded(Holds(lambda net: net)), Holds(wrap)
    wrapped.load_state_dict({wrapped_key(key, own): value for key, value in plain.state_dict().items()})
    wrapped.eval()
    expected = run(plain, layer="net.body.0").maps("gradcam").values
    for name in (own, "net.body.0"):
        found = run(wrapped, layer=name)
        assert found.layer.name == own
        assert torch.equal(found.maps("gradcam").values, expected)
    assert run(wrapped).layer.grid == (6, 6)


def wrapped_key(key: str, own: str) -> str:
    return key.replace("net.", f"net.{own.split('.')[1]}.", 1)


def test_a_lightning_module_is_used_as_it_is() -> None:
    lit = seeded(Lit())
    expected = run(lit.model, layer="body.0").maps("gradcam").values
    assert torch.equal(run(lit, layer="model.body.0").maps("gradcam").values, expected)
    assert run(lit).layer.name in ("model.body", "model.body.2")
    with pytest.raises(SubjectError, match=r"has no layer 'body.0'\. Did you mean 'model\.body\.0'\?"):
        _ = run(lit, layer="body.0").layer


class Twice(Net):
    """One module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self.body[0]


def test_the_second_name_of_a_shared_module_is_accepted() -> None:
    model = seeded(Twice())
    one, two = run(model, layer="body.0"), run(model, layer="stem")
    assert one.layer.name == two.layer.name
    assert torch.equal(one.maps("gradcam").values, two.maps("gradcam").values)


class Circle(Net):
    """A child that knows its parent."""

    def __init__(self) -> None:
        super().__init__()
        self.body.parent = self  # type: ignore[assignment]


def test_names_of_modules_that_hold_each_other_end() -> None:
    names = layer_names(Circle())
    assert names["body.0"] == "body.0"
    assert set(names.values()) == {"", "body", "body.0", "body.1", "body.2", "head"}


def test_every_name_leads_to_the_module_it_names() -> None:
    model = nn.ModuleDict({"a": parallel(Net()), "b": Twice()})
    proper = dict(model.named_modules())
    for name, own in layer_names(model).items():
        by_name: Any = model
        for word in name.split(".") if name else []:
            by_name = unwrapped(by_name) if isinstance(by_name, nn.DataParallel) and word != "module" else by_name
            by_name = getattr(by_name, word) if not isinstance(by_name, nn.ModuleDict) else by_name[word]
        assert by_name is proper[own], name


def scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(Net())


def traced() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(Net(), torch.rand(1, 3, 12, 12))


@pytest.fixture(scope="module")
def exported() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=1, max=64)
        return torch.export.export(seeded(Net()), (torch.rand(2, 3, 12, 12),), dynamic_shapes=({0: batch},))


@pytest.mark.parametrize("build", [scripted, traced])
def test_torchscript_is_a_sentence(build: Any) -> None:
    with pytest.raises(SubjectError, match="TorchScript module, in which no layer can be watched; give the Python"):
        Subject(build())


def test_an_exported_program_is_a_sentence_that_works(exported: Any) -> None:
    for given in (exported, exported.module()):
        with pytest.raises(SubjectError, match=r"give torch\.export\.unflatten\(program\), which has"):
            Subject(given)
    unflattened = torch.export.unflatten(exported)
    found, expected = run(unflattened, layer="body.0"), run(seeded(Net()), layer="body.0")
    torch.testing.assert_close(found.maps("gradcam").values, expected.maps("gradcam").values, rtol=1e-4, atol=1e-6)


def test_sharded_parameters_are_a_sentence() -> None:
    kind: Any = type("FullyShardedDataParallel", (Net,), {})
    with pytest.raises(SubjectError, match="load its full state into a plain module"):
        Subject(kind())


def test_something_else_is_a_sentence() -> None:
    with pytest.raises(SubjectError, match=r"needs a torch\.nn\.Module, not dict"):
        Subject({})  # type: ignore[arg-type]


class Everywhere(nn.DataParallel):
    """As on a machine with two devices: it would make copies."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module, self.device_ids, self.dim = module, [0, 1], 0

    def replicate(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("copies of the model on other devices")


def test_a_parallel_module_inside_runs_on_one_device_and_on_all_afterwards() -> None:
    model = Holds(Everywhere).eval()
    _ = run(model, layer="net.body.0").logits
    assert model.net.device_ids == [0, 1]
    with pytest.raises(KeyboardInterrupt), on_one_device(model):
        raise KeyboardInterrupt
    assert model.net.device_ids == [0, 1]
