"""The text of a proposed contract: YAML with a comment beside each number that says where it comes from."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_saliency.contracts.models import SHIPPING
from pytest_saliency.contracts.proposal import Proposed

WIDTH = 116


@dataclass(frozen=True)
class Head:
    """What a proposed contract is about; paths as the user gave them.

    ``model`` is ``torchvision:NAME``, ``timm:NAME``, ``huggingface:FOLDER`` or ``package.module:function``; ``sample``
    how many of the ``images`` are looked at. ``assumed`` tells that ``preprocess`` was not given, but is what the
    package's own weights, or those of the folder, were made with. ``order``: the class folders as the model's outputs
    are ordered, where that is not the alphabet's order.
    """

    path: Path
    slug: str
    before: Path
    after: Path
    data: Path
    model: str
    classes: int | None
    layer: str
    preprocess: Mapping[str, Any] | str | None
    assumed: bool
    images: int
    sample: int
    seed: int
    day: str
    order: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """Whose weights ``preprocess`` is taken from, where it is assumed."""
        source, _, name = self.model.partition(":")
        return name if source == "huggingface" else source

    def relative(self, path: Path) -> str:
        """Return ``path`` as the contract writes it, from its own folder."""
        return Path(os.path.relpath(path.absolute(), self.path.absolute().parent)).as_posix()


def contract_text(
    head: Head,
    checks: Sequence[Proposed],
    left_out: Mapping[str, str],
    needed: Mapping[str, str] | None = None,
    warning: str = "",
) -> str:
    """Return the contract, with ``warning`` in its head.

    Without ``checks`` it holds one of every model, so that the parser can read the rest.
    """
    lines = [
        *_comment(
            f"Proposed by pytest-saliency init --from on {head.day}, from a pilot: {head.before.name} and"
            f" {head.after.name} on {head.sample} of {head.images} images. The limits are those of one fine-tuning that"
            " is taken to be clean: each leaves some room beyond the 95 % bound measured on it. Fine-tune cleanly a few"
            " more times with other seeds, run pytest --saliency-json on each, and let pytest-saliency calibrate"
            " propose limits from all of them. Then fix the limits, before you look at results that you want judged."
        ),
        *(_comment(f"To be put right first: {warning}") if warning else ()),
        "saliency: 1",
        f"contract: {head.slug}",
        "models:",
        f"  before: {_model(head, head.before)}",
        f"  after: {_model(head, head.after)}",
        "cases:",
        f"  imagefolder: {_scalar(head.relative(head.data))}",
    ]
    if head.order:
        lines.append(f"  classes: {_flow(head.order)}")
    if head.sample < head.images:
        lines.append(f"  sample: {{n: {head.sample}, seed: {head.seed}, per_class: balanced}}")
    lines += ["defaults:", "  model: after", "  alpha: 0.05"]
    if head.preprocess is not None:
        if head.assumed:
            said = f"Assumed: what {head.owner}'s own weights were trained with. Write what yours were."
            lines += _comment(said, 2)
        lines.append(f"  preprocess: {_flow(head.preprocess)}")
    lines.append("checks:")
    if not checks:
        lines += [
            "  - {id: maps-show-something, kind: not_vacuous, method: gradcam, max_share: 1.0}",
        ]
    for one in checks:
        lines += _check(one, (needed or {}).get(one.draft.id, ""))
    for name, why in left_out.items():
        lines += ["", *_comment(f"Left out: {name}. The pilot does not pass it, or cannot decide it: {why}", 2)]
    return "\n".join(lines) + "\n"


def _model(head: Head, weights: Path) -> str:
    made: dict[str, Any] = {}
    source, _, name = head.model.partition(":")
    if source in SHIPPING:
        made |= {source: name, "num_classes": head.classes}
    elif source == "huggingface":
        made[source] = head.relative(Path(name))
    else:
        made["python"] = head.model
    made["weights"] = head.relative(weights)
    if head.layer != "auto":
        made["layer"] = head.layer
    return _flow(made)


def _check(one: Proposed, needed: str) -> list[str]:
    bare = ""
    if one.unlimited:
        bare = f"Without {', '.join(one.unlimited)}: a limit as wide as the pilot asks for refuses hardly anything."
    lines = ["", *_comment(" ".join(part for part in (one.draft.why, needed, bare) if part), 2)]
    lines += [f"  - id: {one.draft.id}", f"    kind: {one.draft.kind}"]
    lines += [f"    {role}: {name}" for role, name in one.draft.roles.items() if role != "model"]
    for key, value in one.parameters.items():
        written = f"    {key}: {_flow(value)}"
        said = one.comments.get(key)
        lines.append(f"{written:<34}  # {said}" if said else written)
    return lines


def _comment(text: str, indent: int = 0) -> list[str]:
    start = " " * indent + "# "
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """Return a value as YAML 1.2 reads it back; text in quotes wherever it could be read as something else."""
    plain = isinstance(value, str) and value.replace("_", "").replace("+", "").isalpha() and value.isascii()
    if plain and value.lower() not in ("true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
