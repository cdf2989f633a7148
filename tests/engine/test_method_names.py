"""Names of methods: what is read, in which form it is shown, and what is said of a name that is none."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_saliency.engine.methods.controls import Control
from pytest_saliency.engine.methods.evidence import GradientMethod
from pytest_saliency.engine.methods.names import (
    CONTROLS,
    METHOD_NAMES,
    PERTURBATION_METHODS,
    VARIANTS,
    MethodName,
    parse_method,
)
from pytest_saliency.engine.methods.perturbation import PerturbationMethod
from pytest_saliency.engine.methods.registry import find_method, gradient_methods
from pytest_saliency.errors import MethodError

NAMES = (
    *("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "cam", "eigencam"),
    *("case", "case[elementwise]", "case[shared_only]", "case[elementwise,shared_only]"),
    *("scorecam", "scorecam[reference-code]", "scorecam[channels:8]", "scorecam[reference-code,channels:8]"),
    *("ablationcam", "ablationcam[relative]"),
    *("random", "centre", "edges", "mean_map", "class_mean", "random_model"),
)
"""Every name that there is, with every combination of variants."""


def test_these_are_all_names_and_all_combinations() -> None:
    expected = set()
    for base in METHOD_NAMES:
        forms = [form.replace("<n>", "8") for form in VARIANTS.get(base, ())]
        for count in range(len(forms) + 1):
            expected |= {str(MethodName(base, chosen)) for chosen in itertools.combinations(forms, count)}
    assert set(NAMES) == expected
    assert len(NAMES) == len(expected) == 23


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is_written_and_finds_its_method(name: str) -> None:
    assert str(parse_method(name)) == name
    found = find_method(name)
    assert found.name == name
    base = name.partition("[")[0]
    kind = Control if base in CONTROLS else PerturbationMethod if base in PERTURBATION_METHODS else GradientMethod
    assert type(found) is kind
    assert find_method(name) is found


def test_the_order_of_variants_does_not_matter() -> None:
    swapped = find_method("case[shared_only,elementwise]")
    assert swapped is find_method("case[elementwise,shared_only]")
    assert str(parse_method("scorecam[channels:8,reference-code]")) == "scorecam[reference-code,channels:8]"


def test_a_variant_with_a_number_gives_it_out() -> None:
    named = parse_method("scorecam[reference-code,channels:64]")
    assert named is not None
    assert named.option("channels") == "64"
    assert named.option("reference-code") is None


def test_gradient_methods_are_put_in_the_order_of_the_first_pass() -> None:
    found = gradient_methods(("case[elementwise]", "edges", "case", "eigencam", "gradcam", "scorecam", "case"))
    assert [method.name for method in found] == ["gradcam", "case", "case[elementwise]", "eigencam"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("case[elementwize]", "there is no variant 'elementwize'.*Did you mean 'elementwise'\\?"),
        ("case[logits:3]", "there is no variant 'logits:3'.*The contrast set is declared on the subject"),
        ("scorecam[channels:0]", "no variant 'channels:0'.*Did you mean 'channels:<n>', with a number from 1\\?"),
        ("scorecam[channels]", "no variant 'channels'.*Did you mean 'channels:<n>', with a number from 1\\?"),
        ("scorecam[channels:<n>]", "no variant 'channels:<n>'.*with a number from 1\\?"),
        ("scorecam[chanels:3]", "no variant 'chanels:3'.*'scorecam' has reference-code, channels:<n>"),
        ("scorecam[channels:3,channels:4]", "variant 'channels' stands there twice"),
        ("case[elementwise,elementwise]", "variant 'elementwise' stands there twice"),
        ("ablationcam[]", "a variant is missing in the brackets; 'ablationcam' has relative"),
        ("case[elementwise,]", "a variant is missing in the brackets"),
        ("case[elementwise", "the bracket is not closed"),
        ("case[elementwise]x", "the bracket is not closed"),
        ("case[elementwise, shared_only]", "a name has no spaces in it"),
        ("gradcam[relative]", "'gradcam' has no variants; write 'gradcam'"),
        ("random[3]", "'random' has no variants"),
        ("mean_map[gradcam]", "'mean_map' has no variants"),
        ("Gradcam", "method 'Gradcam' is not known; there are .*Did you mean 'gradcam'\\?"),
        ("", "method '' is not known"),
        ("[x]", "is not known"),
    ],
)
def test_a_name_that_is_none_is_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        find_method(name)


@given(
    st.one_of(
        st.text(max_size=20),
        st.builds(
            "{}[{}]".format, st.sampled_from(METHOD_NAMES), st.text(alphabet="channels:elwi,[]- 0123", max_size=20)
        ),
    )
)
def test_no_text_is_more_than_a_name_or_a_sentence(text: str) -> None:
    said = ""
    try:
        named = parse_method(text)
    except MethodError as error:
        said = str(error)
    assert repr(text) in said or (not said and (named is None or parse_method(str(named)) == named))
