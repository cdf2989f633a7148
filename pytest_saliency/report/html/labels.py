"""Plain names for what a record holds beside its measures; a name that is not listed is shown as it is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "all_images": "All images, also those not kept",
        "low_margin": "The quarter of images that the model before is least sure of",
        "cause": "Cause of a change",
        "hodges_lehmann": "Typical value (Hodges-Lehmann: median of the means of all pairs)",
        "mean_bca": "Mean, bootstrap bounds",
        "bca": "bootstrap bounds",
        "iou_drop_by_method": "Mean IoU drop with each method",
        "iou_drop_range": "Mean IoU drop, largest minus smallest over these methods",
        "other_image_agreement": "Agreement with another image's map",
        "performance": "Accuracy and AUC",
        "macro_auc": "mean AUC over the classes",
        "iou_drop": "IoU drop",
        "concentration_change": "change of concentration",
        "correlation": "pattern correlation",
        "means": "Mean",
        "then": "approved baseline",
        "now": "this run",
        "pasted_regions": "Newly used regions pasted into other classes",
        "model_before": "followed by the model before",
        "trajectory": "Over the checkpoints",
        "moved_at": "a limit is exceeded from",
        "reference": "Change of the reference",
        "p_rank": "p of the rank",
        "as_bad": "nulls at least as bad",
        "cascade": "Drawn anew from the top layer down",
        "down_to": "down to",
        "floor": "IoU with other images' maps",
        "similarity": "IoU with randomised models' maps",
        "unusable_draws": "Share of randomised models' maps that show nothing",
        "chance": "What chance gives",
        "scale": "Size of the mosaics",
        "most_in_own_cell": "Images with more of the map in their cell than in any other",
        "own_share_by_cell": "Mean share in the own cell, by its place",
        "own_share_of_all_images": "Mean share in the own cell, also where the model does not see the class",
        "drop": "Mean drop by the own region (log-odds)",
        "drop_of_controls": "Mean drop by the region of each control (log-odds)",
        "sd": "standard deviation",
    }
)
VALUES: Mapping[str, str] = MappingProxyType(
    {"magnitude only, cause not identified": "not known: the check measures how much the maps changed, not why"}
)


def label_of(key: str) -> str:
    """Return what ``key`` of a read-out is called; "advantage[blur]" becomes "advantage with blur"."""
    base, _, inside = key.partition("[")
    words = LABELS.get(base, base.replace("_", " "))
    return f"{words} with {inside.rstrip(']')}" if inside else words
