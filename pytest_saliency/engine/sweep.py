"""One pass over the cases: all requested methods and targets of a batch from one capture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_saliency.engine.batches import stream
from pytest_saliency.engine.capture import Capture, Tap
from pytest_saliency.engine.cases import Cases
from pytest_saliency.engine.contrast import logit_sets, table_sets
from pytest_saliency.engine.layers import LayerInfo
from pytest_saliency.engine.methods.evidence import Evidence, GradientMethod, RawMaps
from pytest_saliency.engine.runner import Runner
from pytest_saliency.errors import CasesError, SubjectError

Key = tuple[str, str]
"""(method name, target word)."""


@dataclass(frozen=True)
class Plan:
    """What a pass computes. ``given`` holds the classes of the target ``given``; ``table`` the contrast sets."""

    methods: tuple[GradientMethod, ...]
    targets: tuple[str, ...]
    contrast_size: Callable[[int], int]
    table: Callable[[int], Tensor | None]
    given: Tensor | None = None
    transform: Callable[[Tensor], Tensor] | None = None


@dataclass
class Swept:
    """What a pass over all cases found, on the CPU."""

    scores: Tensor
    binary: bool
    classes: Mapping[str, Tensor]
    values: Mapping[Key, Tensor]
    degenerate: Mapping[Key, Tensor]
    details: Mapping[Key, Mapping[str, Tensor]]
    input_size: tuple[int, ...]
    forward_passes: int


@dataclass
class _Store:
    scores: list[Tensor] = field(default_factory=list)
    classes: dict[str, list[Tensor]] = field(default_factory=dict)
    maps: dict[Key, list[RawMaps]] = field(default_factory=dict)


def sweep(
    runner: Runner,
    layer: LayerInfo,
    cases: Cases,
    batch_size: int,
    plan: Plan,
    progress: Callable[[int, int], None] | None = None,
) -> Swept:
    """Compute every method of ``plan`` for every target over all cases; call it inside the runner's session.

    Raises
    ------
    CasesError
        An image that cannot be read, or a label beyond the model's classes.
    SubjectError
        Scores that are not finite (names the images), or anything the model raised.
    """
    tap = Tap(runner, layer.name, layer.layout)
    store = _Store()
    binary, reached = False, False
    size: tuple[int, ...] = ()
    for batch in stream(cases, runner.subject.preprocess, batch_size):
        pixels = batch.pixels if plan.transform is None else plan.transform(batch.pixels)
        size = tuple(pixels.shape[2:])
        made = tap(pixels)
        _check_scores(runner, cases, batch.indices, made.scores)
        classes = _target_classes(runner, cases, plan, batch.indices, made.scores)
        reached |= _one_batch(made, classes, plan, store)
        store.scores.append(made.scores.float().cpu())
        binary = made.binary
        for target, found in classes.items():
            store.classes.setdefault(target, []).append(found.cpu())
        if progress is not None:
            progress(batch.indices[-1] + 1, len(cases))
    if not reached:
        raise SubjectError(
            f"the scores of model '{runner.subject.name}' do not change with layer '{layer.name}' on any of the"
            f" {len(cases)} images: every gradient there is zero, so every map would be blank. Choose another layer, or"
            " check that the weights are trained ones."
        )
    return Swept(
        scores=torch.cat(store.scores),
        binary=binary,
        classes={target: torch.cat(parts) for target, parts in store.classes.items()},
        values={key: torch.cat([part.values for part in parts]) for key, parts in store.maps.items()},
        degenerate={
            key: torch.cat([part.degenerate for part in parts if part.degenerate is not None])
            for key, parts in store.maps.items()
            if parts[0].degenerate is not None
        },
        details={
            key: {name: torch.cat([part.details[name] for part in parts]) for name in parts[0].details}
            for key, parts in store.maps.items()
        },
        input_size=size,
        forward_passes=tap.passes,
    )


def _one_batch(made: Capture, classes: Mapping[str, Tensor], plan: Plan, store: _Store) -> bool:
    """Compute and store a batch's maps; tell whether any gradient at the layer is not zero."""
    scores = made.scores
    # A label that is already top-1 or top-2 needs no products of its own, and mostly it is.
    shared_label = "label" in classes and _covered(classes)
    computed = [target for target in classes if not (target == "label" and shared_label)]
    contrastive = any(method.contrastive for method in plan.methods)
    count = scores.shape[1]
    table = plan.table(count) if contrastive else None
    cotangents, sets = [], {}
    for target in computed:
        cotangents.append(torch.zeros_like(scores).scatter_(1, classes[target].unsqueeze(1), 1.0))
        if contrastive:
            chosen = (
                logit_sets(scores, classes[target], plan.contrast_size(count))
                if table is None
                else table_sets(table, classes[target]).to(scores)
            )
            sets[target] = chosen
            # The mean of the contrast gradients is the gradient of the mean contrast score: one product, not k.
            cotangents.append(chosen / chosen.sum(1, keepdim=True).clamp(min=1.0))
    gradients = made.gradients(torch.stack(cotangents)).flatten(3)
    activations = made.activations.flatten(2)
    step = 2 if contrastive else 1
    for position, target in enumerate(computed):
        evidence = Evidence(
            activations,
            gradients[position * step],
            gradients[position * step + 1] if contrastive else None,
            sets.get(target),
        )
        for method in plan.methods:
            raw = _to_cpu(method.compute(evidence), made.activations.shape[2:])
            store.maps.setdefault((method.name, target), []).append(raw)
    if shared_label:
        _share_label(plan, classes, store)
    return bool((gradients != 0).any())


def _check_scores(runner: Runner, cases: Cases, indices: Sequence[int], scores: Tensor) -> None:
    bad = (~torch.isfinite(scores)).any(1).nonzero().flatten().tolist()
    if bad:
        named = ", ".join(f"'{cases.ids[indices[i]]}'" for i in bad[:3])
        raise SubjectError(
            f"model '{runner.subject.name}' returns NaN or infinite logits for {len(bad)} of {len(indices)} images in"
            f" a batch ({named}); nothing can be said about its explanations. Check its weights and preprocess."
        )


def _target_classes(
    runner: Runner, cases: Cases, plan: Plan, indices: Sequence[int], scores: Tensor
) -> dict[str, Tensor]:
    count = scores.shape[1]
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices
    labels = torch.tensor([cases.labels[i] for i in indices], device=scores.device)
    beyond = (labels >= count).nonzero().flatten().tolist()
    if beyond:
        case = indices[beyond[0]]
        raise CasesError(
            f"case '{cases.ids[case]}' has label {cases.labels[case]}, but model '{runner.subject.name}' has {count}"
            f" classes (0 .. {count - 1}). Correct the label, or take the model that was trained on these classes."
        )
    made: dict[str, Tensor] = {}
    for target in plan.targets:
        if target == "top1":
            made[target] = order[:, 0]
        elif target == "top2":
            made[target] = order[:, 1]
        elif target == "label":
            made[target] = labels
        elif target == "given" and plan.given is not None:
            made[target] = plan.given[list(indices)].to(scores.device)
        else:
            index = int(target)
            if not 0 <= index < count:
                raise SubjectError(
                    f"target class {index} is not one of the {count} classes (0 .. {count - 1}) of model"
                    f" '{runner.subject.name}'."
                )
            made[target] = torch.full_like(labels, index)
    return made


def _covered(classes: Mapping[str, Tensor]) -> bool:
    if "top1" not in classes or "top2" not in classes:
        return False
    label = classes["label"]
    return bool(((label == classes["top1"]) | (label == classes["top2"])).all())


def _share_label(plan: Plan, classes: Mapping[str, Tensor], store: _Store) -> None:
    second = (classes["label"] == classes["top2"]).cpu()

    def pick(first: Tensor, other: Tensor) -> Tensor:
        return torch.where(second.reshape(-1, *(1,) * (first.dim() - 1)), other, first)

    for method in plan.methods:
        one, two = store.maps[method.name, "top1"][-1], store.maps[method.name, "top2"][-1]
        degenerate = None
        if one.degenerate is not None and two.degenerate is not None:
            degenerate = pick(one.degenerate, two.degenerate)
        details = {name: pick(one.details[name], two.details[name]) for name in one.details}
        store.maps.setdefault((method.name, "label"), []).append(
            RawMaps(pick(one.values, two.values), degenerate, details)
        )


def _to_cpu(raw: RawMaps, grid: torch.Size) -> RawMaps:
    values = raw.values.reshape(-1, *grid).float().cpu()
    degenerate = None if raw.degenerate is None else raw.degenerate.cpu()
    return RawMaps(values, degenerate, {name: value.cpu() for name, value in raw.details.items()})
