"""Several pairs of models in one check, and the words that name what a change is held against."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_saliency.contracts.checkpoints import names_of as checkpoint_names
from pytest_saliency.contracts.checkpoints import natural
from pytest_saliency.contracts.contract import Contract, expand, parse_contract
from pytest_saliency.contracts.pairs import names_of
from pytest_saliency.errors import ContractError

TEXT = """\
saliency: 1
contract: toy
models:
  red-tl: {python: "toy:build"}
  red-ft: {python: "toy:build"}
  blue-tl: {python: "toy:build"}
  blue-ft: {python: "toy:build"}
cases: {python: "toy:cases"}
checks:
  - id: evidence-kept
    kind: no_semantic_drift
    before: %s
    after: %s
    method: [gradcam, layercam]
    max_iou_drop: 0.4
"""


def contract(before: str, after: str, more: str = "") -> Contract:
    return parse_contract((TEXT % (before, after) + more).encode(), Path("toy.saliency.yaml"))


def test_pairs_are_zipped_and_named() -> None:
    items = expand(contract("[red-tl, blue-tl]", "[red-ft, blue-ft]"))
    assert [item.name for item in items] == [
        "evidence-kept[red-gradcam]",
        "evidence-kept[red-layercam]",
        "evidence-kept[blue-gradcam]",
        "evidence-kept[blue-layercam]",
    ]
    assert items[2].roles == {"before": "blue-tl", "after": "blue-ft"}
    assert items[2].axes == {"pair": "blue", "method": "gradcam"}
    assert next(item.name for item in expand(contract("red-tl", "red-ft"))) == "evidence-kept[gradcam]"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("[red-tl, blue-tl]", "[red-ft]", "names 2 models and 'after' 1; write two lists of equal length"),
        ("red-tl", "[red-ft, blue-ft]", "are one list and one model; write two lists of equal length"),
        ("[red-tl, red-tl]", "[red-ft, red-ft]", "name 'red-ft' twice"),
        ("[red-tl, red-ft]", "[blue-ft, red-ft]", "are the same model 'red-ft'"),
        ("[]", "[]", "is an empty list, so nothing would be checked"),
        ("[red-tl, 3]", "[red-ft, blue-ft]", "'before' must be the name of a model; got 3"),
        ("[red-tl, green]", "[red-ft, blue-ft]", "unknown model 'green'"),
    ],
)
def test_pairs_that_do_not_fit_are_told(before: str, after: str, words: str) -> None:
    with pytest.raises(ContractError) as caught:
        contract(before, after)
    assert words in str(caught.value)


def test_nulls_belong_to_one_pair() -> None:
    with pytest.raises(ContractError, match="belong to one pair of models"):
        contract("[red-tl, blue-tl]", "[red-ft, blue-ft]", "    reference: null\n    nulls: [red-tl]\n")


@pytest.mark.parametrize("word", ["null", "'null'", '"null"'])
def test_the_reference_null_is_a_word(word: str) -> None:
    # At alpha 0.4 a rank among two nulls can be small enough.
    more = f"    reference: {word}\n    alpha: 0.4\n    nulls: [blue-ft, blue-tl]\n"
    (item, _) = expand(contract("red-tl", "red-ft", more))
    assert item.parameters["reference"] == "null"
    assert item.roles["nulls.1"] == "blue-ft"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            "    reference: null\n    nulls: [blue-ft, blue-tl]\n",
            r"\n  17:12 .* 'nulls' needs 19 at least, declare fewer",
        ),
        ("    reference: null\n", "nothing to rank the candidate among; 'nulls' needs 19 at least"),
        ("    reference: null\n    null_test: normal\n    nulls: [blue-ft, blue-tl]\n", "'nulls' needs 3 at least"),
        ("    reference: null\n    max_displacement: 0.1\n    nulls: [blue-ft]\n", "'nulls' needs 39 at least"),
        ("    nulls: [blue-ft]\n", "names 1 nulls, but reference is absolute"),
    ],
)
def test_too_few_nulls_are_told_from_the_text_alone(more: str, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        contract("red-tl", "red-ft", more)


@pytest.mark.parametrize("word", ["", "~", "Null"])
def test_a_reference_without_a_value_is_still_told(word: str) -> None:
    with pytest.raises(ContractError, match="'reference' has no value"):
        contract("red-tl", "red-ft", f"    reference: {word}\n")


def test_a_null_elsewhere_is_still_no_value() -> None:
    with pytest.raises(ContractError, match="'requirement' has no value"):
        contract("red-tl", "red-ft", "    requirement: null\n")


@pytest.mark.parametrize(
    ("pairs", "names"),
    [
        ([("densenet-tl", "densenet-ft"), ("resnet-tl", "resnet-ft")], ["densenet", "resnet"]),
        ([("tl_densenet", "ft_densenet"), ("tl_resnet", "ft_resnet")], ["densenet", "resnet"]),
        ([("resnet-tl", "resnet-two"), ("vgg-a", "vgg-b")], ["resnet", "vgg"]),
        ([("a", "b"), ("a", "c")], ["b", "c"]),
        ([("net-1", "net-2"), ("net-1", "net-3")], ["net-2", "net-3"]),
        ([("a", "c"), ("b", "c")], ["a~c", "b~c"]),
    ],
)
def test_names_of_pairs_tell_them_apart(pairs: list[tuple[str, str]], names: list[str]) -> None:
    assert names_of(pairs) == names


def test_checkpoints_are_in_the_order_in_which_people_count() -> None:
    files = [f"weights/epoch_{k}.pt" for k in (10, 9, 1, 100)]
    assert sorted(files, key=natural) == [f"weights/epoch_{k}.pt" for k in (1, 9, 10, 100)]
    assert checkpoint_names(files[:2]) == ["epoch_10", "epoch_9"]
    assert checkpoint_names(["a/1.pt", "b/1.pt"]) == ["a/1", "b/1"]


def test_checkpoints_without_a_limit_on_maps_follow_nothing() -> None:
    text = TEXT.replace("max_iou_drop: 0.4", "max_accuracy_drop: 0.1\n    checkpoints: w/*.pt") % ("red-tl", "red-ft")
    with pytest.raises(ContractError, match="no limit on maps is declared"):
        parse_contract(text.encode(), Path("toy.saliency.yaml"))
