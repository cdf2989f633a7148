"""Keys of baselines: what they are called, and that two of them never share a file."""

from __future__ import annotations

import itertools

import pytest

from pytest_saliency.errors import SaliencyError
from pytest_saliency.records.baseline_key import Key, python_key


def test_names_that_can_be_read_are_the_file_names() -> None:
    assert Key("chest-xray", "faithful").stem == "faithful"
    assert Key.made("chest-xray", "faithful", {"method": "gradcam++"}).stem == "faithful[method=gradcam++]"
    two = Key.made("chest-xray", "x", {"top_k": "0.05", "method": "case"})
    assert two.stem == "x[method=case,top_k=0.05]"
    assert two.selector == "chest-xray/x[case-0.05]"
    assert (two.folder, python_key("mine").folder) == ("chest-xray", "python")


KEYS = [
    Key(contract, check, axes)
    for contract in ("python", None, "con", "a", "a-b")
    for check in ("x", "con", "nul", "x-y", "lpt1", "x.candidate", "X", "x[method=case]")
    for axes in (
        (),
        (("method", "case"),),
        (("model", "case"),),
        (("method", "case"), ("model", "b")),
        (("method", "case,model=b"),),
        (("method", "CASE"),),
        (("method", "case[logits:3]"),),
        (("method", "case[logits-3]"),),
        (("method", "package.module:f"),),
        (("method", "../../etc/passwd"),),
        (("method", "\u0130\n\x00"),),
        (("method", "x" * 300),),
        (("method", "x" * 301),),
    )
]


def test_no_two_keys_share_a_file_not_even_where_case_is_not_told_apart() -> None:
    files = [f"{key.folder}/{key.stem}{ending}".lower() for key in KEYS for ending in (".json", ".candidate.json")]
    assert len(set(files)) == len(files)


def test_file_names_stay_in_their_folder_and_hold_on_every_system() -> None:
    for part in itertools.chain.from_iterable((key.folder, key.stem) for key in KEYS):
        assert set(part) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-=,[]")
        assert part[0] not in ".-"
        assert len(part) < 200
        assert part.partition(".")[0].lower() not in ("con", "prn", "aux", "nul", "com1", "lpt1", "")


def test_keys_go_to_json_and_back_and_are_selected_by_check_or_item() -> None:
    for key in KEYS:
        assert Key.from_dict(key.to_dict()) == key
    key = Key.made("toy", "x", {"method": "case"})
    assert [key.selected_by(text) for text in ("toy/x", "toy/x[case]", "toy/x[b]", "x", "toy")] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "-a", "x" * 81, 3, None, "a\n"])
def test_a_name_in_a_test_must_be_one_that_a_command_can_take(name: object) -> None:
    with pytest.raises(SaliencyError, match="the name of a baseline must be"):
        python_key(name)  # type: ignore[arg-type]
