"""Methods by name in contracts: every name with its variants, own methods, and what is said where one is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_saliency.engine.methods import own

from .texts import CONTRACT, Write

NAMES = (
    *("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "cam", "eigencam"),
    *("case", "case[elementwise]", "case[shared_only]", "case[elementwise,shared_only]"),
    *("scorecam", "scorecam[reference-code]", "scorecam[channels:8]", "scorecam[reference-code,channels:8]"),
    *("ablationcam", "ablationcam[relative]"),
    *("random", "centre", "edges", "mean_map", "class_mean", "random_model"),
)

METHODS = """\
import torch

def patches(subject, images, targets):
    '''What the model sees of the target's colour, at half the resolution of its layer.'''
    seen = subject.model.features(images)[torch.arange(len(images)), targets]
    return torch.nn.functional.avg_pool2d(seen[:, None], 2)[:, 0].detach()

def gradient(subject, images, targets):
    images.requires_grad_()
    subject.model(subject.preprocess.normalise(images)).gather(1, targets[:, None]).sum().backward()
    return (images.grad * images).sum(1)

def broken(subject, images, targets):
    raise RuntimeError("no way")

def flat(subject, images, targets):
    return images.mean((1, 2, 3))

number = 3
"""


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_REGISTERED", {})


@pytest.fixture
def methods(pytester: pytest.Pytester) -> Path:
    path = pytester.path / "methods.py"
    path.write_text(METHODS)
    return path


def sensitive(method: str, name: str = "sensitive", **more: str) -> str:
    return check(name, "class_sensitive", method=method, **more)


def faithful(method: str, name: str = "faithful", **more: str) -> str:
    return check(name, "faithful", method=method, top_k="0.06", min_advantage="0.0", **more)


def check(name: str, kind: str, **keys: str) -> str:
    lines = [f"  - id: {name}", f"    kind: {kind}", *(f"    {key}: {value}" for key, value in keys.items())]
    return "\n".join(lines) + "\n"


def records(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((path / "out.json").read_text(encoding="utf-8"))["records"]
    return found


def test_every_name_is_an_item_and_its_record_names_it_in_full(pytester: pytest.Pytester, write: Write) -> None:
    listed = "[" + ", ".join(f'"{name}"' for name in NAMES) + "]"
    write(sensitive(listed))
    result = pytester.runpytest_inprocess("--saliency-json=out.json", "-q", "--saliency-images=none")
    found = {record["axes"]["method"]: record for record in records(pytester.path)}
    assert set(found) == set(NAMES)
    result.stdout.fnmatch_lines([f"saliency: {len(NAMES)} checks: *"])
    for name, record in found.items():
        base, bracket, variants = name.partition("[")
        full = {"case": f"case[logits:1{',' + variants if bracket else ']'}"}
        full |= {control: f"{control}[gradcam]" for control in ("mean_map", "class_mean", "random_model")}
        assert record["node"] == f"toy.saliency.yaml::sensitive[{name}]"
        assert record["method"]["name"] == full.get(base, name)
        assert record["verdict"] in ("PASS", "FAIL", "INCONCLUSIVE")
    assert found["gradcam"]["verdict"] == "PASS"
    assert found["scorecam[channels:8]"]["method"]["details"]["energy_kept"]["mean"] == 1.0
    assert found["case[elementwise]"]["method"]["details"]["kept"]["max"] <= 1.0
    one = {work["id"] for record in found.values() for work in record["execution"]["work"].values()}
    assert len(one) == 1, "all items share one model's passes"


@pytest.mark.parametrize("quoted", ['"case[elementwise]"', "'case[elementwise]'", "case[elementwise]"])
def test_one_name_needs_no_quotes(pytester: pytest.Pytester, write: Write, quoted: str) -> None:
    write(sensitive(quoted))
    pytester.runpytest_inprocess("-q", "--saliency-json=out.json").assert_outcomes(passed=1)
    assert records(pytester.path)[0]["method"]["name"] == "case[logits:1,elementwise]"


def test_names_in_a_block_list_need_no_quotes(pytester: pytest.Pytester, write: Write) -> None:
    write(sensitive("\n      - case[elementwise]\n      - scorecam[channels:2]"))
    pytester.runpytest_inprocess("-q").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("case[soft:3]", "*12:13*method 'case[[]soft:3]': there is no variant 'soft:3'*declared on the subject*"),
        ("scorecam[channels:0]", "*12:13*Did you mean 'channels:<n>', with a number from 1?*(check 'sensitive')"),
        ('[gradcam, "scorecam[chanels:3]"]', "*12:23*there is no variant 'chanels:3'*"),
        ("gradcam[relative]", "*12:13*'gradcam' has no variants; write 'gradcam'*"),
        ("mine", "*12:13*unknown method 'mine' in check 'sensitive'*register_method*package.module:function*"),
        ("gradcan", "*12:13*unknown method 'gradcan' in check 'sensitive'; did you mean 'gradcam'?"),
    ],
)
def test_a_wrong_name_is_told_before_anything_runs(
    pytester: pytest.Pytester, write: Write, method: str, sentence: str
) -> None:
    write(sensitive(method))
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["1 problem in this contract; nothing was run.", sentence])


# -- own methods ----------------------------------------------------------------------------------------------------


def test_a_registered_method_works_in_every_check(pytester: pytest.Pytester, write: Write, methods: Path) -> None:
    pytester.makeconftest(
        "import methods, pytest_saliency\npytest_saliency.register_method('patches', methods.patches, version=4)\n"
    )
    drift = check("kept", "no_semantic_drift", before="clean", after="twin", method="patches", max_iou_drop="0.1")
    head = CONTRACT.replace("  cheat:", '  twin: {python: "toy:build", layer: features}\n  cheat:')
    write(
        sensitive("[patches, gradcam]"),
        faithful("patches", against="[gradcam, random]", max_disadvantage="0.5"),
        faithful("gradcam", "other", against="patches", max_disadvantage="0.1"),
        drift,
        head=head,
    )
    pytester.runpytest_inprocess("-q", "--saliency-json=out.json").assert_outcomes(passed=5)
    found = {record["node"].partition("::")[2]: record for record in records(pytester.path)}
    assert found["sensitive[patches]"]["method"] == {"name": "patches", "version": 4}
    assert "self_agreement" in found["sensitive[patches]"]["per_image"]
    assert found["faithful"]["criterion"]["against"] == ["gradcam", "random"]
    stages = found["kept"]["execution"]["work"]["before"]["stages"]
    assert stages["patches"]["images"] == {"own": 120}, "for two classes"
    assert "jitter: patches" in stages


def test_a_second_run_in_one_process_registers_again(pytester: pytest.Pytester, write: Write, methods: Path) -> None:
    pytester.makeconftest(f"{METHODS}\nimport pytest_saliency\npytest_saliency.register_method('patches', patches)\n")
    write(sensitive("patches"))
    for _ in range(2):
        pytester.runpytest_inprocess("-q").assert_outcomes(passed=1)


def test_a_path_is_imported_from_beside_the_contract(pytester: pytest.Pytester, write: Write, methods: Path) -> None:
    (pytester.path / "contracts").mkdir()
    methods.rename(pytester.path / "contracts" / "methods.py")
    write(
        sensitive("methods:patches"), faithful("methods:gradient", against="random"), name="contracts/toy.saliency.yaml"
    )
    pytester.runpytest_inprocess("-q", "--saliency-json=out.json").assert_outcomes(passed=2)
    assert {record["method"]["name"] for record in records(pytester.path)} == {"methods:patches", "methods:gradient"}


def test_an_installed_package_announces_a_method(pytester: pytest.Pytester, write: Write, methods: Path) -> None:
    info = pytester.path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest_saliency.methods]\ntheirs = methods:patches\n")
    pytester.syspathinsert()
    write(sensitive("[theirs, layercam]"))
    result = pytester.runpytest_subprocess("-q", "--saliency-json=out.json", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    assert [record["method"]["name"] for record in records(pytester.path)] == ["layercam", "theirs"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (sensitive("methods:nothing"), "sensitive: *methods:nothing: module 'methods' has no attribute 'nothing'*"),
        (sensitive("methods:patch"), "sensitive: *has no attribute 'patch'; did you mean 'patches'?"),
        (sensitive("methods:number"), "sensitive: *methods:number is of type int; it must be a function to call."),
        (sensitive("nowhere:patches"), "sensitive: *nowhere:patches: there is no module 'nowhere' in *"),
        (faithful("gradcam", against="nowhere:patches"), "faithful: *there is no module 'nowhere' in *"),
        (
            sensitive("methods:broken"),
            "sensitive: own method 'methods:broken', given 32 images*raised RuntimeError*no way.",
        ),
        (sensitive("methods:flat"), "sensitive: own method 'methods:flat' returned maps of shape (32,) for 32 images*"),
    ],
)
def test_what_is_wrong_with_an_own_method_is_a_sentence(
    pytester: pytest.Pytester, write: Write, methods: Path, text: str, sentence: str
) -> None:
    path = write(text)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([sentence, "saliency: 1 check: 1 ERROR"])
    result.stdout.no_fnmatch_line("*Traceback*")
    if "nowhere" in text:
        key = "against" if "against" in text else "method"
        line = 1 + next(i for i, row in enumerate(path.read_text().splitlines()) if row.strip().startswith(f"{key}:"))
        result.stdout.fnmatch_lines([f"toy.saliency.yaml:{line}"])


def test_imports_can_be_forbidden(pytester: pytest.Pytester, write: Write, methods: Path) -> None:
    pytester.makeini("[pytest]\nsaliency_allow_python = false\n")
    pytester.makeconftest(
        "import sys; sys.path.insert(0, '.')\nimport methods, pytest, pytest_saliency, toy\n"
        "pytest_saliency.register_method('patches', methods.patches)\n"
        "@pytest.fixture\ndef model(): return toy.build()\n@pytest.fixture\ndef images(): return toy.cases()\n"
    )
    head = CONTRACT.replace('python: "toy:build"', "fixture: model").replace('python: "toy:cases"', "fixture: images")
    head = "\n".join(line for line in head.splitlines() if "cheat" not in line) + "\n"
    write(
        sensitive("methods:patches"),
        faithful("gradcam", against="methods:patches"),
        sensitive("patches", "own"),
        head=head,
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=2, passed=1)
    forbidden = "method 'methods:patches' is not imported, because ini saliency_allow_python is false; register it in a"
    result.stdout.fnmatch_lines([f"sensitive: {forbidden}*", f"faithful: {forbidden}*"])


def test_a_name_that_is_taken_stops_the_run(pytester: pytest.Pytester, write: Write, methods: Path) -> None:
    pytester.makeconftest("import methods, pytest_saliency\npytest_saliency.register_method('case', methods.patches)\n")
    write(sensitive("case"))
    result = pytester.runpytest_subprocess()
    result.stderr.fnmatch_lines(
        ["*MethodError: register_method: 'case' is a method of the engine; choose another name."]
    )


# -- half precision -------------------------------------------------------------------------------------------------


def test_half_precision_is_recorded_with_what_it_changes(
    pytester: pytest.Pytester, write: Write, methods: Path
) -> None:
    write(sensitive('[gradcam, "scorecam[channels:2]", "methods:gradient"]'), faithful("gradcam"))
    result = pytester.runpytest_inprocess("--saliency-precision=bf16", "--saliency-json=out.json", "-v")
    result.assert_outcomes(passed=4)
    for record in records(pytester.path):
        execution = record["execution"]
        assert execution["precision"] == "bf16"
        (work,) = execution["work"].values()
        measured = work["precision"]
        assert measured["images"] == 8
        assert 0 < measured["score"] < 0.02
        assert measured["predictions"] == 0
        assert 0.9 < measured["correlation"]["gradcam"] <= 1
        assert work["stages"]["float32"]["images"] == {"capture": 8}


def test_float32_is_recorded_without_a_difference(pytester: pytest.Pytester, write: Write) -> None:
    write(sensitive("gradcam"))
    pytester.runpytest_inprocess("-q", "--saliency-json=out.json").assert_outcomes(passed=1)
    (record,) = records(pytester.path)
    assert record["execution"]["precision"] == "float32"
    assert record["execution"]["work"]["model"]["precision"] is None


def test_a_model_that_half_precision_breaks_is_a_sentence(pytester: pytest.Pytester, write: Write) -> None:
    write(sensitive("gradcam"), head=CONTRACT.replace('"toy:build"', '"halves:build"', 1))
    (pytester.path / "halves.py").write_text(
        "import toy, torch\n\n"
        "class Picky(toy.Toy):\n"
        "    def forward(self, x):\n"
        "        seen = self.features(x * self.mask)\n"
        "        return self.head(torch.from_numpy(seen.detach().numpy()).mean((2, 3)))\n\n"
        "class Overflowing(toy.Toy):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x).half() * 1e5\n\n"
        "def build():\n    return Picky()\n\ndef overflowing():\n    return Overflowing()\n"
    )
    result = pytester.runpytest_inprocess("--saliency-precision=bf16")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["sensitive: model 'clean', given * images*, raised TypeError at halves.py:6: *BFloat16*"]
    )
    (pytester.path / "toy.saliency.yaml").write_text(
        (pytester.path / "toy.saliency.yaml").read_text().replace("halves:build", "halves:overflowing")
    )
    result = pytester.runpytest_inprocess("--saliency-precision=bf16")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["sensitive: model 'clean' returns NaN or infinite logits for * images*use float32*"])
