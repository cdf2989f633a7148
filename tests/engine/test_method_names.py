"""Names of methods: what is read, in which form it is shown, and what is said of a name that is none."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_saliency.engine.methods.controls import Control
from pytest_saliency.engine.methods.evidence import GradientMethod
from pytest_saliency.engine.methods.names import (
    ATTENTION_METHODS,
    CAPTUM_METHODS,
    CONTROLS,
    DEFAULTS,
    METHOD_NAMES,
    PERTURBATION_METHODS,
    VARIANTS,
    MethodName,
    parse_method,
    resolves_to,
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
"""Every name of a method without defaults, with every combination of variants."""

WITH_PASSES = PERTURBATION_METHODS + ATTENTION_METHODS + CAPTUM_METHODS
IN_FULL = {
    "rise": "rise[masks:1000,cells:7,keep:0.5,score:probability]",
    "rise[masks:40,centred]": "rise[masks:40,cells:7,keep:0.5,score:probability,centred]",
    "rollout": "rollout[heads:mean]",
    "rollout[heads:max]": "rollout[heads:max]",
    "captum:IntegratedGradients": "captum:IntegratedGradients[steps:64,baseline:zero,grid:56]",
    "captum:IntegratedGradients[steps:8,baseline:blur]": "captum:IntegratedGradients[steps:8,baseline:blur,grid:56]",
    "captum:GradientShap": "captum:GradientShap[samples:32,noise:0.1,baseline:zero,grid:56]",
    "captum:GradientShap[noise:0]": "captum:GradientShap[samples:32,noise:0,baseline:zero,grid:56]",
    "captum:Occlusion": "captum:Occlusion[window:16,stride:8,baseline:zero,grid:56]",
    "captum:DeepLift[baseline:mean]": "captum:DeepLift[baseline:mean,grid:56]",
    "captum:Saliency": "captum:Saliency[grid:56]",
    "captum:InputXGradient[grid:28]": "captum:InputXGradient[grid:28]",
}
"""Names of methods with defaults, and what their maps are called."""


def test_these_are_all_names_and_all_combinations() -> None:
    expected = set()
    for base in METHOD_NAMES:
        if base in DEFAULTS:
            assert base in {name.partition("[")[0] for name in IN_FULL}
            continue
        forms = [form.replace("<n>", "8") for form in VARIANTS.get(base, ())]
        for count in range(len(forms) + 1):
            expected |= {str(MethodName(base, chosen)) for chosen in itertools.combinations(forms, count)}
    assert set(NAMES) == expected
    assert len(NAMES) == len(expected) == 23


@pytest.mark.parametrize("name", [*NAMES, *IN_FULL])
def test_a_name_is_shown_as_it_is_written_and_finds_its_method(name: str) -> None:
    assert str(parse_method(name)) == name
    found = find_method(name)
    assert found.name == name
    base = name.partition("[")[0]
    kind = Control if base in CONTROLS else PerturbationMethod if base in WITH_PASSES else GradientMethod
    assert type(found) is kind
    assert find_method(name) is found


@pytest.mark.parametrize("name", IN_FULL)
def test_a_method_with_defaults_is_recorded_in_full(name: str) -> None:
    found, full = find_method(name), IN_FULL[name]
    assert isinstance(found, PerturbationMethod)
    assert found.label == full
    assert str(parse_method(full)) == full
    assert resolves_to(name, full)
    assert resolves_to(full, full)
    base, _, rest = full.partition("[")
    first, *others = rest.removesuffix("]").split(",")
    assert not resolves_to(name, f"{base}[{','.join([first + '1', *others])}]"), "a setting is another"
    if others:
        assert not resolves_to(name, f"{base}[{','.join(others)}]"), "a setting is missing"
        assert not resolves_to(name, base)


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
        ("captum:Foo", "method 'captum:Foo' is not offered; of captum there are captum:IntegratedGradients"),
        ("captum:Oclusion", "Did you mean 'captum:Occlusion'\\?"),
        ("captum:Occlusion[windw:3]", "Did you mean 'window:<n>', with a number from 1\\?"),
        ("captum:DeepLift[steps:3]", "no variant 'steps:3'.*'captum:DeepLift' has baseline:<zero.mean.blur.random>"),
        ("rise[keep:1.5]", "Did you mean 'keep:<share>', with a share between 0 and 1"),
        ("rollout[heads:sum]", "Did you mean 'heads:<mean.max.min>'"),
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
