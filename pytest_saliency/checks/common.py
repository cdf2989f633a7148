"""What every check does around its own measure: choosing images, seeding, saying what was used."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_saliency.checks.fates import SAME_CLUSTER
from pytest_saliency.checks.grouped import OF_LABEL
from pytest_saliency.decide.decision import NotAttainable
from pytest_saliency.engine import multi_label as units
from pytest_saliency.engine.explained import Explained
from pytest_saliency.engine.maps import Maps
from pytest_saliency.errors import CasesError, MethodError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Kept:
    """The images a check looks at, as indices into the cases ordered by id, and why the others were left out."""

    indices: Indices
    total: int
    dropped: Mapping[str, int]

    def ids(self, explained: Explained) -> tuple[str, ...]:
        """Return the ids of the kept images."""
        return tuple(explained.cases.ids[i] for i in self.indices)


def keep(explained: Explained, mask: NDArray[np.bool_], reason: str) -> Kept:
    """Keep the images where ``mask`` holds; the order is that of their ids, whatever order they came in."""
    _need_two_classes(explained)
    ids = explained.cases.ids
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    chosen = np.asarray([i for i in order if mask[i]], dtype=np.int64)
    left_out = len(ids) - len(chosen)
    if not len(chosen):
        raise NotAttainable(
            f"there is no image to decide on: 'keep' leaves none of the {len(ids)} cases of {explained.cases.source}"
            f" ({reason}). Check the weights, the preprocess and the order of the classes of model"
            f" '{explained.subject.name}', or keep more.",
            n=0,
            needed=None,
        )
    return Kept(chosen, len(ids), {reason: left_out} if left_out else {})


def wanted(explained: Explained, which: str) -> NDArray[np.bool_]:
    """Return which cases a check of one subject looks at: ``correct`` ones, or ``all``."""
    return explained.correct if which == "correct" else np.ones(len(explained.cases), dtype=bool)


def _need_two_classes(explained: Explained) -> None:
    cases = explained.cases
    if len(set(cases.labels)) == 1 and cases.others is None:
        which = (
            f"all {len(cases)} cases of {cases.source} have" if len(cases) > 1 else f"the case of {cases.source} has"
        )
        raise CasesError(
            f"{which} one class, '{cases.class_name(cases.labels[0])}'; what a"
            " model looks at to tell classes apart cannot be judged on one. Give cases of at least two classes."
        )


def refuse_several_labels(explained: Explained, kind: str, why: str) -> None:
    """Raise CasesError where images have several labels, and ``kind`` has no meaning for them."""
    if explained.multi_label:
        raise CasesError(f"{kind} does not fit {explained.cases.source}, whose images have several labels: {why}")


def refuse_degenerate(maps: Maps, kept: Kept) -> None:
    """Raise where the method has no meaning on any image, so that no verdict of any kind is read into it."""
    if len(kept.indices) and bool((maps.status[kept.indices] == "degenerate").all()):
        why = (
            "the contrast set's direction is the target's own, so that nothing is left when it is removed. This is so"
            " for a one-logit head and for a two-class head with tied rows"
            if "contrast" in maps.details
            else "it has no meaning on what the target layer returns (Eigen-CAM: no single strongest direction;"
            " Score-CAM: every channel is flat), or its maps show how often each place was hidden and not what the"
            " model says of it (RISE of a model that is sure whatever is hidden: use its variant centred)"
        )
        raise MethodError(
            f"method {maps.method} is degenerate on all {len(kept.indices)} images: {why}; use another method, such as"
            " gradcam or layercam."
        )


def warnings_of(kept: Kept, *maps: Maps) -> list[str]:
    """Return a note for every warning that the maps of the kept images carry."""
    notes = []
    for one in maps:
        contrast = one.details.get("contrast")
        without = 0 if contrast is None else int((contrast[kept.indices] == 0).all(axis=1).sum())
        if without:
            notes.append(
                f"{one.method} has no contrast class for {without} of {len(kept.indices)} {one.target} maps, which"
                " are therefore Grad-CAM's"
            )
    return list(dict.fromkeys(notes))


def method_details(maps: Maps, kept: Kept, after: Maps | None = None) -> dict[str, Any]:
    """Return what a method recorded of the kept images, one number each, as mean and range; ``details`` in the record.

    ``after``: the same method's maps of a second model, whose numbers are ``details_after``.
    """
    made = {"details": _summed_up(maps, kept)}
    if after is not None:
        made["details_after"] = _summed_up(after, kept)
    return {key: found for key, found in made.items() if found}


def _summed_up(maps: Maps, kept: Kept) -> dict[str, dict[str, float]]:
    found = {name: values[kept.indices] for name, values in maps.details.items()}
    return {
        name: {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
        for name, values in found.items()
        if values.ndim == 1 and len(values)
    }


def clock() -> Clock:
    """Return a running stopwatch for the stages of a check."""
    return Clock()


@dataclass
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to stage ``name``; torch works on one thread there.

        Measures go over a few maps at a time, too little for a team of threads: waiting for each other takes longer
        than the work, and many times as long where another process has one of the cores.
        """
        from pytest_saliency.engine.threads import cpu_threads

        started = time.perf_counter()
        try:
            with cpu_threads(1):
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def case_record(explained: Explained, kept: Kept, extra: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return what a record says of the cases: who they are, how many were kept, why the others were not."""
    cases = explained.cases
    labels = Counter(cases.class_name(label) for label in cases.labels)
    return {
        "n": len(cases),
        "digest": cases.digest,
        "unordered_digest": cases.unordered_digest,
        "source": cases.source,
        "classes": dict(sorted(labels.items())),
        "class_names": {str(label): cases.class_name(label) for label in sorted(set(cases.labels))},
        "kept": len(kept.indices),
        "dropped": {**kept.dropped, **(extra or {})},
        **units.describe(cases),
    }


def execution_record(explained: Mapping[str, Explained], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what a record says of the run: device, precision, batch, and what was done so far at what cost."""
    import torch

    first = next(iter(explained.values()))
    return {
        "device": first.device,
        "precision": first.precision,
        "batch": first.size.describe(),
        "threads": first.runner.threads or torch.get_num_threads(),
        "work": {role: one.costs() for role, one in explained.items()},
        "check_seconds": dict(seconds),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }


def base_columns(explained: Explained, kept: Kept) -> dict[str, list[Any]]:
    """Return the columns that every check's per-image table begins with."""
    cases = explained.cases
    made: dict[str, list[Any]] = {
        "id": list(kept.ids(explained)),
        "label": [cases.labels[i] for i in kept.indices],
    }
    if cases.clusters is not None:
        made["cluster"] = [cases.clusters[i] for i in kept.indices]
    if cases.groups is not None:
        made["group"] = [cases.groups[i] for i in kept.indices]
        labels = [cases.class_name(cases.labels[i]) for i in kept.indices]
        if cases.others is not None and made["group"] != labels:
            made[OF_LABEL] = labels
    return made


def everyone(explained: Mapping[str, Explained], kept: Kept, mask: NDArray[np.bool_], reason: str) -> dict[str, Any]:
    """Return a table of all cases in the order of their ids: what became of each, and what each subject made of it.

    ``mask`` and ``reason`` are those of :func:`keep`; what is left out though the mask holds shares its cluster with a
    kept image.
    """
    one = next(iter(explained.values()))
    cases = one.cases
    order = sorted(range(len(cases)), key=lambda i: cases.ids[i])
    inside = {int(i) for i in kept.indices}
    made: dict[str, Any] = {
        "id": [cases.ids[i] for i in order],
        "label": [cases.labels[i] for i in order],
        "fate": ["kept" if i in inside else SAME_CLUSTER if mask[i] else reason for i in order],
    }
    for name, values in (("cluster", cases.clusters), ("group", cases.groups)):
        if values is not None:
            made[name] = [values[i] for i in order]
    for role, subject in explained.items():
        tail = "" if len(explained) == 1 else f"_{role}"
        made[f"predicted{tail}"] = [int(subject.predicted[i]) for i in order]
        made[f"correct{tail}"] = [bool(subject.correct[i]) for i in order]
    return made


def layer_maps(kept: Kept, **maps: Maps) -> dict[str, NDArray[Any]]:
    """Return the maps of the kept images at layer resolution by name, as float32 (n, *S)."""
    return {name: one.values[kept.indices].numpy() for name, one in maps.items()}
