from __future__ import annotations

import platform
from importlib.util import find_spec

from pytest_saliency.records.record import Setting, Source, complete, versions, without_result

RESULT = {
    "check": "faithful",
    "kind": "faithful",
    "verdict": "PASS",
    "execution": {"device": "cpu", "versions": {"torch": "9.9+cu1"}},
    "pictures": [],
}


def test_what_the_result_says_stays_and_the_run_adds_the_rest() -> None:
    setting = Setting(
        node="a.saliency.yaml::evidence[case]",
        source=Source("a.saliency.yaml", 9, {"top_k": 12}, ((9, "- id: evidence"),)),
        contract="a",
        contract_sha256="ab",
        check="evidence",
        kind="faithful",
        axes={"method": "case"},
        requirement="REQ-9",
        notes=("a note",),
    )
    made = complete(RESULT, setting)
    assert made["verdict"] == "PASS"
    assert made["check"] == "evidence", "the contract's id, not the kind"
    assert made["execution"]["device"] == "cpu"
    assert made["execution"]["versions"]["torch"] == "9.9+cu1", "the result knows its torch better"
    assert made["execution"]["versions"]["python"] == platform.python_version()
    assert made["source"]["lines"] == {"top_k": 12}
    assert made["axes"] == {"method": "case"}
    assert made["requirement"] == "REQ-9"
    assert made["notes"] == ["a note"]
    assert made["policy"] == {"severity": "fail", "on_inconclusive": "fail", "known_failure": None}
    assert "node" not in RESULT
    assert "python" not in RESULT["execution"]["versions"], "the result's own record is not changed"  # type: ignore[index]


def test_a_python_assertion_keeps_its_own_id() -> None:
    made = complete(RESULT, Setting(node="test_a.py::test_b", source=None))
    assert (made["check"], made["kind"], made["contract"], made["source"]) == ("faithful", "faithful", None, None)


def test_a_check_without_a_result_has_a_record_too() -> None:
    made = without_result(Setting(node="n", source=None, check="c", kind="faithful"), "ERROR", "no such layer")
    assert (made["verdict"], made["headline"], made["decision"]) == ("ERROR", "no such layer", None)
    assert (made["node"], made["check"], made["kind"]) == ("n", "c", "faithful")


def test_versions_of_what_numbers_depend_on() -> None:
    found = versions()
    assert {"python", "pytest-saliency", "pytest", "torch", "numpy", "scipy", "pillow"} <= set(found)
    for package in ("timm", "transformers", "pydicom"):  # they build the networks and decode the images of a contract
        assert (package in found) == (find_spec(package) is not None)
    assert all(found.values())
