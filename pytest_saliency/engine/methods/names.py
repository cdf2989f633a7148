"""The names of the built-in attribution methods, for those who must know them without importing torch."""

from __future__ import annotations

GRADIENT_METHODS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "case")
CONTROLS = ("random", "centre", "class_mean")
METHOD_NAMES = GRADIENT_METHODS + CONTROLS
