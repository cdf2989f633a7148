"""What identifies a computation: the same in every process, and another one for whatever decides a map."""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
import operator
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pytest_saliency import Cases, Subject
from pytest_saliency.engine import installed
from pytest_saliency.engine.identity import architecture_digest, callable_digest, subject_parts
from pytest_saliency.records.cache import address

from .nets import pictures

NET = """
    import torch
    from torch import nn
    import {helper} as helper

    LIMIT = 6.0

    class Block(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale
            self.conv = nn.Conv2d(3, 4, 3)
        def forward(self, x):
            return helper.squash(self.conv(x)).clamp(max=LIMIT) * self.scale

    class Net(nn.Module):
        def __init__(self, scale=1.0, rate=0.1):
            super().__init__()
            self.features = nn.Sequential(Block(scale), nn.BatchNorm2d(4), nn.Dropout(rate))
            self.head = nn.Linear(4, 3)
            self.register_buffer("shift", torch.zeros(4, 1, 1), persistent=False)
        def forward(self, x):
            return self.head((self.features(x) + self.shift).mean((2, 3)))
"""
HELPER = "def squash(x):\n    return x.relu()\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Write the network's file and its helper's, afresh each time, and import them under the same names."""
    monkeypatch.syspath_prepend(tmp_path)

    def made(net: str = NET, helper: str = HELPER) -> ModuleType:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        modules = {}
        for name, text in (("own_helper", helper), ("own_net", net.replace("{helper}", "own_helper"))):
            path = folder / f"{name}.py"
            path.write_text(textwrap.dedent(text))
            found = importlib.util.spec_from_file_location(name, path)
            assert found is not None
            assert found.loader is not None
            modules[name] = importlib.util.module_from_spec(found)
            monkeypatch.setitem(sys.modules, name, modules[name])
            found.loader.exec_module(modules[name])
        return modules["own_net"]

    return made


def model_of(module: ModuleType, **given: Any) -> nn.Module:
    torch.manual_seed(3)
    made: nn.Module = module.Net(**given)
    return made


# -- architecture -----------------------------------------------------------------------------------------------------


def test_equal_models_have_equal_digests(load: Callable[..., ModuleType]) -> None:
    one = architecture_digest(model_of(load()))
    assert one == architecture_digest(model_of(load())), "the same text in another folder"
    assert len(one) == 64


def test_what_does_not_decide_a_map_does_not_count(load: Callable[..., ModuleType]) -> None:
    model = model_of(load()).eval()
    before, parts = architecture_digest(model), subject_parts(Subject(model))
    model.train()
    model.features[1].eval()
    model.head.weight.requires_grad_(False)
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    model.eval()
    assert architecture_digest(model) == before
    model = copy.deepcopy(model)
    model.features[1].load_state_dict(nn.BatchNorm2d(4).state_dict())  # the pass above moved its statistics
    assert subject_parts(Subject(model, name="another", source="elsewhere")) == parts


def test_weights_are_not_architecture(load: Callable[..., ModuleType]) -> None:
    model = model_of(load())
    before = architecture_digest(model)
    with torch.no_grad():
        model.head.weight.add_(1)
        model.shift.add_(1)
    assert architecture_digest(model) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".mean((2, 3))", ".amax((2, 3))"),
        ("LIMIT = 6.0", "LIMIT = 5.0"),
        ("nn.Dropout(rate)", "nn.Dropout1d(rate)"),
        ("persistent=False)", "persistent=False)  # seen only in the text"),
    ],
)
def test_the_source_of_a_class_counts(load: Callable[..., ModuleType], old: str, new: str) -> None:
    assert old in NET
    assert architecture_digest(model_of(load())) != architecture_digest(model_of(load(NET.replace(old, new))))


def test_code_imported_from_another_file_counts(load: Callable[..., ModuleType]) -> None:
    before = architecture_digest(model_of(load()))
    assert architecture_digest(model_of(load(helper=HELPER.replace("relu", "sigmoid")))) != before
    by_name = NET.replace("import {helper} as helper", "from {helper} import squash").replace("helper.squash", "squash")
    one, two = (architecture_digest(model_of(load(by_name, h))) for h in (HELPER, HELPER.replace("relu", "tanh")))
    assert one != two


def test_a_base_class_in_another_file_counts(load: Callable[..., ModuleType]) -> None:
    base = "from torch import nn\nclass Base(nn.Module):\n    def forward(self, x):\n        return x.relu()\n"
    net = "import own_helper\nclass Net(own_helper.Base):\n    pass\n"
    one, two = (architecture_digest(load(net, h).Net()) for h in (base, base.replace("relu", "tanh")))
    assert one != two


def _set(path: str, value: Any) -> Callable[[nn.Module], None]:
    *names, last = path.split(".")

    def change(model: nn.Module) -> None:
        setattr(functools.reduce(getattr, names, model), last, value)

    return change


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def _own_forward(self: nn.Module, x: Tensor) -> Tensor:
    return -x


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "a plain number": _set("features.0.scale", 2.0),
    "a plain tensor": _set("features.0.scale", torch.tensor([1.0, 2.0])),
    "another plain tensor": _set("features.0.scale", torch.tensor([1.0, 3.0])),
    "dropout's rate": _set("features.2.p", 0.2),
    "the class of a submodule": _set("features.2", nn.Identity()),
    "one own class": _set("features.2", Doubled()),
    "another of the same file": _set("features.2", Halved()),
    "a stride": _set("features.0.conv.stride", (2, 2)),
    "a function on an instance": lambda m: _set("features.0.forward", lambda x: x * 2)(m),
    "a function with another constant": lambda m: _set("features.0.forward", lambda x: x * 3)(m),
    "a method on an instance": lambda m: _set("head.forward", MethodType(_own_forward, m.head))(m),
    "a hook": lambda m: m.head.register_forward_hook(lambda module, given, made: made * 2),
    "a hook with another constant": lambda m: m.head.register_forward_hook(lambda module, given, made: made * 3),
    "a hook of another kind": lambda m: m.head.register_forward_pre_hook(lambda module, given: None),
    "a backward hook": lambda m: m.head.register_full_backward_hook(lambda module, into, out: None),
    "a parametrization": lambda m: parametrize.register_parametrization(m.head, "weight", Doubled()),
    "another parametrization": lambda m: parametrize.register_parametrization(m.head, "weight", Halved()),
    "a module under a second name": lambda m: m.add_module("again", m.head),
    "a module that is not registered": _set("extra", [nn.Linear(2, 2)]),
}


def test_every_change_of_a_model_in_memory_counts(load: Callable[..., ModuleType]) -> None:
    module = load()
    found = {"nothing": architecture_digest(model_of(module))}
    for name, change in CHANGES.items():
        model = model_of(module)
        change(model)
        found[name] = architecture_digest(model)
        assert found[name] == architecture_digest(model), f"{name}: not the same twice"
    clashes = [(a, b) for a in found for b in found if a < b and found[a] == found[b]]
    assert clashes == []


def test_a_method_replaced_on_a_class_counts(load: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(load())
    found = [architecture_digest(model)]
    for cls in (type(model), nn.Linear):  # one's own, and an installed one
        for forward in (lambda self, x: x * 0, lambda self, x: x * 1):
            with monkeypatch.context() as patched:
                patched.setattr(cls, "forward", forward)
                found.append(architecture_digest(model))
    assert len(set(found)) == 5
    assert architecture_digest(model) == found[0]


def test_the_version_of_an_installed_package_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    before = architecture_digest(model)
    installed.version_of.cache_clear()
    monkeypatch.setattr(torch, "__version__", "0.0.1")
    try:
        assert architecture_digest(model) != before
    finally:
        monkeypatch.undo()
        installed.version_of.cache_clear()
    assert architecture_digest(model) == before


def test_attributes_without_content_count_by_type(tmp_path: Path) -> None:
    plain, one, two = (nn.Sequential(nn.ReLU()) for _ in range(3))
    one.lock, two.lock = threading.Lock(), threading.Lock()
    assert architecture_digest(one) == architecture_digest(two) != architecture_digest(plain)


def test_models_that_refer_to_themselves() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[0].parent = [model]  # in a list, so that it is not a submodule
    loop: list[object] = []
    loop.append(loop)
    model.loop = loop
    once = architecture_digest(model)
    assert once == architecture_digest(model)
    model[0].parent = [model[1]]
    assert architecture_digest(model) != once


def test_compiled_and_wrapped_models_have_a_digest(load: Callable[..., ModuleType]) -> None:
    model = model_of(load())
    parallel = nn.DataParallel(model)
    assert architecture_digest(parallel) == architecture_digest(nn.DataParallel(model)) != architecture_digest(model)


# -- callables --------------------------------------------------------------------------------------------------------


def scaled(by: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: x * by


def shifted(x: Tensor, by: float = 1.0) -> Tensor:
    return x + by


class Normalise:
    def __init__(self, mean: Any, inner: Any = None) -> None:
        self.mean = mean
        self.inner = inner

    def __call__(self, x: Tensor) -> Tensor:
        return x - self.mean

    def other(self, x: Tensor) -> Tensor:
        return x + self.mean


def _linear(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(2, 2)


def test_callables_with_different_content_have_different_digests() -> None:
    functions: list[Callable[..., Any]] = [
        *(scaled(by) for by in (1, 1.0, True, 2, "1", b"1", None, (1, 2), [1, 2], (2, 1), {1, 2}, {"a": 1}, {"a": 2})),
        *(scaled(np.array(by)) for by in ([1.0, 2.0], [1.0, 3.0], [[1.0, 2.0]], [1, 2], ["a"])),
        *(scaled(np.float32(by)) for by in (1, 2)),
        *(scaled(torch.tensor(by)) for by in ([1.0, 2.0], [1.0, 3.0], [1, 2])),
        *(scaled(_linear(seed)) for seed in (1, 2)),
        *(scaled(scaled(by)) for by in (1, 2)),
        shifted,
        functools.partial(shifted, by=1.0),
        functools.partial(shifted, by=2.0),
        *[lambda x: x + 1, lambda x: x + 2, lambda x: x - 1],
        lambda x, by=1: x,
        lambda x, by=2: x,
        *(torch.no_grad()(scaled(by)) for by in (1, 2)),
        Normalise(1.0),
        Normalise(2.0),
        Normalise(1.0).other,
        Normalise(2.0).other,
        Normalise(1.0, Normalise(1.0)),
        Normalise(1.0, Path("a")),
        Normalise(1.0, np.random.default_rng(1)),
        Normalise(1.0, np.random.default_rng(2)),
        operator.itemgetter("logits"),
        operator.itemgetter("scores"),
        operator.attrgetter("logits"),
        torch.relu,
        torch.sigmoid,
        F.relu,
        F.gelu,
        torch.Tensor.relu,
        np.sin,
        np.cos,
        _linear(1),
        _linear(2),
    ]
    found = [callable_digest(function) for function in functions]
    assert None not in found
    assert len(set(found)) == len(functions)


def test_the_same_content_has_the_same_digest() -> None:
    for make in (
        lambda: scaled(np.arange(3)),
        lambda: scaled(torch.arange(3)),
        lambda: scaled({"b", "a", "c"}),
        lambda: scaled(_linear(1)),
        lambda: Normalise([1.0, Normalise(2.0)]),
        lambda: Normalise(1.0).other,
        lambda: functools.partial(shifted, by=torch.ones(2)),
    ):
        assert callable_digest(make()) == callable_digest(make()) is not None
    assert callable_digest(functools.lru_cache(shifted)) == callable_digest(shifted)
    one = Normalise(1.0)
    one.inner = one
    assert callable_digest(one) is not None


def test_the_order_in_which_attributes_were_set_does_not_count() -> None:
    one, two = Normalise(1.0, 2.0), Normalise(1.0)
    del two.mean
    two.inner, two.mean = 2.0, 1.0
    assert callable_digest(one) == callable_digest(two)


@pytest.mark.parametrize("hidden", ["lock", "file", "generator", "iterator"])
def test_what_cannot_be_identified_has_no_digest(hidden: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with (tmp_path / "file").open() as file:
        value = {
            "lock": threading.Lock(),
            "file": file,
            "generator": (x for x in range(3)),
            "iterator": map(scaled(1), [1]),
        }[hidden]
        if hidden == "iterator":
            assert callable_digest(scaled(value)) is not None, "pickle can say what it is made of"
            return
        for function in (scaled(value), scaled([{"a": value}]), Normalise(value), functools.partial(shifted, by=value)):
            assert callable_digest(function) is None
        module = nn.Identity()
        module.hidden = value
        assert callable_digest(module) is None


def in_memory(text: str, **known: Any) -> Any:
    """Run a text as a console does, without a file to read it from; return what it calls ``f``."""
    scope: dict[str, Any] = {"torch": torch, "nn": nn, "__name__": "__main__", **known}
    exec(compile(textwrap.dedent(text), "<stdin>", "exec"), scope)
    return scope["f"]


def test_code_without_source_is_identified_by_what_it_does() -> None:
    texts = [
        "f = lambda x: x * 2",
        "f = lambda x: x * 3",
        "f = lambda x: x * 2.0",
        "f = lambda x: x + 2",
        "f = lambda x: x.sin()",
        "f = lambda x: x.cos()",
        "f = lambda x: torch.sin(x)",
        "f = lambda x: [x for _ in range(2)]",
        "f = lambda x: [x for _ in range(3)]",
        "k = 2\nf = lambda x: x * k",
        "k = 3\nf = lambda x: x * k",
        "k = torch.ones(2)\nf = lambda x: x * k",
        "def g(x): return x + 1\nf = lambda x: g(x)",
        "def g(x): return x + 2\nf = lambda x: g(x)",
        "def f(x):\n    return x if x in {'a', 'b', 'c'} else 0",
        "def f(x):\n    return x if x in {'a', 'b', 'd'} else 0",
        "def f(x):\n    try:\n        return x\n    except KeyError:\n        return 0",
        "def f(x):\n    try:\n        return x\n    except IndexError:\n        return 0",
    ]
    found = [callable_digest(in_memory(text)) for text in texts]
    assert None not in found
    assert len(set(found)) == len(texts)
    assert found == [callable_digest(in_memory("\n\n\n" + text)) for text in texts], "on other lines"
    assert callable_digest(in_memory("f = lambda x: k(x)", k=threading.Lock())) is None


def test_a_model_without_source_is_identified_by_its_bytecode() -> None:
    text = """
        class Net(nn.Module):
            gain = 1
            def __init__(self):
                super().__init__()
                self.head = nn.Linear(2, 2)
            def forward(self, x):
                return self.head(x).relu()
        f = Net()
    """
    texts = [text, text.replace("relu", "tanh"), text.replace("gain = 1", "gain = 2")]
    found = [architecture_digest(in_memory(t)) for t in texts]
    assert len(set(found)) == 3
    assert found == [architecture_digest(in_memory(t)) for t in texts]


# -- subjects ---------------------------------------------------------------------------------------------------------


def held_out(shift: float = 0.0, source: str = "arrays") -> Cases:
    images = pictures(6, (3, 8, 8), seed=1) * 0.9 + shift
    return Cases.from_arrays(images, [0, 1, 2, 0, 1, 2], source=source)


def test_everything_that_decides_a_map_is_in_the_parts(load: Callable[..., ModuleType]) -> None:
    module = load()

    def weight(model: nn.Module) -> None:
        model.head.weight.data[0, 0] += 1e-3

    def statistics(model: nn.Module) -> None:
        model.features[1].running_mean[0] += 1e-3

    def unsaved(model: nn.Module) -> None:
        model.shift[0] += 1e-3

    def forward(model: nn.Module) -> None:
        model.features[2].forward = lambda x: x * 0

    changes: list[Callable[[nn.Module], object]] = [lambda m: None, weight, statistics, unsaved, forward]
    changes.append(lambda m: m.double())
    settings: list[dict[str, Any]] = [
        {"layer": "penultimate"},
        {"layer": "features.0"},
        {"preprocess": {"resize": 8}},
        {"preprocess": {"mean": [0.5], "std": [0.5]}},
        {"preprocess": {"mean": [0.5], "std": [0.25]}},
        {"preprocess": {"mean": [np.float32(0.5)], "std": [np.float32(0.25)]}},
        {"preprocess": lambda x: x * 2},
        {"preprocess": lambda x: x * 3},
        {"preprocess": scaled(2)},
        {"preprocess": scaled(3)},
        {"output": 0},
        {"output": "logits"},
        {"output": lambda x: x[0]},
        {"output": lambda x: x[1]},
        {"reshape": "channels_last"},
        {"reshape": lambda x: x},
        {"contrast": {"k": 2}},
        {"contrast": {"select": "explicit", "classes": {0: [1]}}},
        {"contrast": {"select": "explicit", "classes": {0: [2]}}},
        {"contrast": {"select": "confusion", "cases": held_out()}},
        {"contrast": {"select": "confusion", "cases": held_out(0.01)}},
    ]
    found: list[str] = []
    for change in changes:
        model = model_of(module)
        change(model)
        found.append(address(subject_parts(Subject(model)) or pytest.fail("no parts")))
    subjects = [Subject(model_of(module), **setting) for setting in settings]
    found += [address(subject_parts(subject) or pytest.fail("no parts")) for subject in subjects]
    assert len(set(found)) == len(changes) + len(settings)


def test_names_and_places_decide_nothing(load: Callable[..., ModuleType]) -> None:
    module = load()
    model = model_of(module)
    by_name = subject_parts(Subject(model, layer="features.0.conv"))
    assert by_name == subject_parts(Subject(model, layer=model.features[0].conv)), "by name or as a module"
    one, two = (
        subject_parts(Subject(model, contrast={"select": "confusion", "cases": held_out(source=place)}))
        for place in ("here", "there")
    )
    assert one == two is not None
    assert json.loads(json.dumps(one)) == one


def test_a_subject_that_cannot_be_identified_has_no_parts(load: Callable[..., ModuleType]) -> None:
    model, hidden = model_of(load()), scaled(threading.Lock())
    for setting in ({"preprocess": hidden}, {"output": hidden}, {"reshape": hidden}, {"layer": nn.ReLU()}):
        assert subject_parts(Subject(model, **setting)) is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of torch warn that lazy layers are new
        lazy = nn.LazyLinear(3)
    assert subject_parts(Subject(nn.Sequential(nn.Flatten(), lazy))) is None
    assert subject_parts(Subject(nn.Linear(2, 2, device="meta"))) is None


SCRIPT = """
    import json, sys
    sys.path.insert(0, sys.argv[1])
    import numpy as np, torch
    from own_net import Net
    from pytest_saliency import Subject
    from pytest_saliency.engine.identity import callable_digest, subject_parts
    torch.manual_seed(3)
    words = {"a", "b", "c", "d", "e"}
    model = Net()
    model.words, model.where = words, object.__new__(object)
    model.features[0].forward = lambda x: x if str(x) in {"f", "g", "h", "i"} else -x
    model.head.register_forward_hook(lambda module, given, made: made)
    subject = Subject(model, preprocess=lambda x: x * 2 if x.dim() in words else x, output=lambda x: x)
    print(json.dumps([subject_parts(subject), callable_digest(np.sin), callable_digest(torch.relu)]))
"""


def test_processes_agree(tmp_path: Path) -> None:
    (tmp_path / "own_helper.py").write_text(HELPER)
    (tmp_path / "own_net.py").write_text(textwrap.dedent(NET.replace("{helper}", "own_helper")))
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    root = Path(__file__).parents[2]

    def begin(seed: str) -> subprocess.Popen[str]:
        # Another seed gives sets of text another order; what a process allocates first moves its addresses.
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "FILLER": "x" * int(seed) * 999}
        script = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
        return subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, text=True)

    one, two = (process.communicate(timeout=120)[0] for process in [begin("1"), begin("2")])
    assert one == two
    parts, *functions = json.loads(one)
    assert parts is not None
    assert all(functions)
