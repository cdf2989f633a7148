"""RISE: S = 1 / (E[M] N) * sum_i f(x * M_i) M_i, the score under random masks, given back to what they showed.

Petsiuk et al., arXiv 1806.07421, eq. 6 and section 3.2: binary grids of ``cells`` a side, each cell 1 with probability
``keep`` = E[M], are enlarged linearly to one cell more than the image and cropped at a random place. Choices:

- The masks are drawn once from a seed of their own and are the same for all images, both models of a comparison and all
  runs; the repeat that measures noise gets others. What an image is told by few masks is therefore the same error in
  every map; ``centred`` takes it out: it weights by f - mean f instead of f, after which a mask that changes nothing
  counts nothing and maps are signed. (As published, every position gets at least the mean score.)
- As published, a map is the mean score times how often each position was shown, which is the same pattern for every
  image and model, and what the scores add to it. Where the pattern varies more over the positions than what is added
  (a model that is sure whatever is hidden), the map is about the masks and is called degenerate: the maps of two models
  that look at opposite corners would agree.
- f is the probability of the class, as published: the softmax of the scores, of a head with one logit its sigmoid.
  ``score:logit`` takes the score itself.
- What is masked is the model's input after normalisation, as in the authors' code: 0 is the mean image, not black.
- Cells are the rounded-up quotient of the sides, as in the authors' code, so that the crop always fits.
- ``masks:1000`` is fewer than the paper's 4000 to 8000, and cheaper by as much.

Maps are means of the masks over at most 56 cells a side (see ``pixels``), of volumes 4 for each of the masks' own; they
vary no faster than the masks do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_saliency.decide.randomness import Stream, seed_from
from pytest_saliency.engine.methods.evidence import RawMaps
from pytest_saliency.engine.methods.inputs import Slots, scored, scores_of
from pytest_saliency.engine.methods.names import MethodName
from pytest_saliency.engine.methods.perturbation import PerturbationMethod, Perturbed, Site, TargetsOf
from pytest_saliency.engine.methods.pixels import MOST_CELLS, cells_of, model_inputs, summed
from pytest_saliency.errors import MethodError

SOURCE = "arXiv 1806.07421, eq. 6"
A_CELL = 4  # positions of a volume's map for each cell of a mask
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
TOGETHER = 2**22  # positions of enlarged masks in work at a time while they are averaged


def rise_method(variants: tuple[str, ...] = ()) -> PerturbationMethod:
    """Return RISE with ``variants`` as ``parse_method`` orders them."""
    name = MethodName("rise", variants)
    return PerturbationMethod(str(name), 2, partial(_compute, name), SOURCE, str(name.in_full()))


@dataclass(frozen=True)
class Masks:
    """Random masks over ``size``: grids (N, 1, *cells) of 0 and 1, and the corner (N, d) where each is cropped."""

    grids: Tensor
    corners: Tensor
    size: tuple[int, ...]

    @classmethod
    def drawn(cls, count: int, cells: int, keep: float, size: tuple[int, ...], draw: str) -> Masks:
        """Draw ``count`` masks. Another size crops the same grids at the same places in proportion."""
        dimensions = len(size)
        stream = Stream(seed_from("rise", draw), str(cells), str(count))
        shown = torch.from_numpy(stream.uniform(count * cells**dimensions)) < keep
        at = torch.from_numpy(stream.uniform(count * dimensions)).reshape(count, dimensions)
        widths = torch.tensor([-(-side // cells) for side in size])
        return cls(shown.float().reshape(count, 1, *(cells,) * dimensions), (at * widths).long(), size)

    def __len__(self) -> int:
        return len(self.grids)

    def rows(self, part: slice) -> Tensor:
        """Return the masks at ``part`` over the whole size, (m, 1, *size) in [0, 1]."""
        cells = self.grids.shape[2]
        large = tuple((cells + 1) * -(-side // cells) for side in self.size)
        enlarged = F.interpolate(self.grids[part], size=large, mode=MODES[len(large)], align_corners=False)
        made = []
        for mask, corner in zip(enlarged, self.corners[part].tolist(), strict=True):
            for axis, (first, side) in enumerate(zip(corner, self.size, strict=True), start=1):
                mask = mask.narrow(axis, first, side)
            made.append(mask)
        return torch.stack(made)

    def averaged(self, grid: tuple[int, ...]) -> Tensor:
        """Return every mask averaged over the cells of ``grid``, (N, *grid)."""
        share = math.prod(grid) / math.prod(self.size)
        step = max(1, TOGETHER // math.prod(self.size))
        parts = [
            summed(self.rows(slice(first, first + step)).squeeze(1), grid) * share
            for first in range(0, len(self), step)
        ]
        return torch.cat(parts)


def _compute(name: MethodName, site: Site, pixels: Tensor, targets_of: TargetsOf) -> Perturbed:
    inputs = model_inputs(site, pixels, str(name))
    scores, binary = scores_of(site, inputs, "capture")
    slots = Slots.of(targets_of(scores))
    masks, averaged = _masks(site, name, tuple(inputs.shape[2:]))
    said = _masked_scores(site, inputs, masks, slots, name.setting("score") == "logit")
    mean = said.mean(2, keepdim=True)
    flat = averaged.to(said.device, said.dtype).flatten(1) / float(name.setting("keep"))
    own, pattern = (said - mean) @ flat / len(masks), mean * flat.mean(0)
    empty = own.var(2) < pattern.var(2)
    if "centred" in name.variants:
        values, empty = own, torch.zeros_like(empty)
    else:
        values = own + pattern
        if bool(empty.any()):
            site.notes[
                f"maps of {name} of model '{site.runner.subject.name}' that show how often the masks show a place more"
                " than what the model says under them count as undefined (degenerate): it says nearly the same whatever"
                f" is hidden. {MethodName('rise', (*name.variants, 'centred'))} leaves the masks out"
            ] = None
    values = values.reshape(*said.shape[:2], *averaged.shape[1:])
    made = {word: RawMaps(slots.pick(values, word), slots.pick(empty, word)) for word in slots.place}
    return Perturbed(scores, binary, made)


def _masks(site: Site, name: MethodName, size: tuple[int, ...]) -> tuple[Masks, Tensor]:
    """Return the masks of this pass, and their means over the cells of the map's grid."""
    if "masks" not in site.state:
        count, cells = int(name.setting("masks")), int(name.setting("cells"))
        if cells > min(size):
            raise MethodError(
                f"{name.in_full()} needs cells of at least one pixel, but the input of model"
                f" '{site.runner.subject.name}' is {'x'.join(map(str, size))}; declare fewer cells."
            )
        masks = Masks.drawn(count, cells, float(name.setting("keep")), size, site.draw)
        most = MOST_CELLS if len(size) < 3 else A_CELL * cells
        site.state["masks"] = masks, masks.averaged(cells_of(size, most))
    found: tuple[Masks, Tensor] = site.state["masks"]
    return found


def _masked_scores(site: Site, inputs: Tensor, masks: Masks, slots: Slots, logit: bool) -> Tensor:
    """Return what the model says of each image's classes under each mask, (k, n, N) float64 (float32 on MPS).

    All images of the batch go through one mask before the next is enlarged, in batches that are always full.
    """
    count, total = len(inputs), len(inputs) * len(masks)
    precise = torch.float32 if inputs.device.type == "mps" else torch.float64
    made = torch.zeros(slots.count, count, len(masks), dtype=precise, device=inputs.device)
    classes = slots.classes.to(inputs.device)

    def work(part: slice) -> None:
        pairs = torch.arange(part.start, part.stop, device=inputs.device)
        images, chosen = pairs % count, pairs // count
        first, last = part.start // count, (part.stop - 1) // count
        shown = masks.rows(slice(first, last + 1)).to(inputs.device, inputs.dtype)
        with torch.no_grad():
            scores, binary = scored(site, inputs[images] * shown[chosen - first])
        said = scores.to(precise)
        if not logit:
            # The softmax of a head with one logit z is the sigmoid of z, and not the softmax of (-z, z).
            said = said.sigmoid() if binary or site.sigmoid else said.softmax(1)
        made[:, images, chosen] = said.gather(1, classes[:, images].T).T
        site.count("masks", len(pairs))
        site.progress(part.stop / total)

    site.size.each(total, work)
    return made
