"""What the paper reports (arXiv 2506.07327), typed from its text, figure by figure as it is printed there."""

from __future__ import annotations

from collections.abc import Mapping

METHODS = {
    "ablationcam": "AblationCAM",
    "case": "CASE",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "scorecam": "ScoreCAM",
}
"""Names of methods in a contract, and in the paper's tables in their order."""

MODELS = {
    "convnext": "ConvNeXt",
    "densenet": "DenseNet",
    "resnet": "ResNet",
    "vgg": "VGG",
    "densenet-norm5": "DenseNet (norm5 layer)",
}
"""Names of models in the contract for ImageNet, and in the paper's tables in their order."""

Cells = Mapping[tuple[str, str], str]
"""What is printed for (model, method)."""


def _cells(models: tuple[str, ...], rows: str) -> dict[tuple[str, str], str]:
    made = {}
    for method, line in zip(METHODS, rows.strip().splitlines(), strict=True):
        for model, cell in zip(models, line.split(), strict=True):
            made[model, method] = cell
    return made


TABLE_ONE: Cells = _cells(
    ("convnext", "densenet", "resnet", "vgg"),
    """
    1.      <.0001  1.      1.
    <.0001  <.0001  <.0001  <.0001
    0.8734  <.0001  1.      1.
    0.0179  <.0001  1.      <.0001
    <.0001  <.0001  1.      1.
    <.0001  <.0001  <.0001  1.
    """,
)
"""p-values of the one-sided Wilcoxon test that the median agreement is below 50 %."""

TABLE_TWO: Cells = _cells(
    ("densenet-norm5",),
    """
    1.
    <.0001
    1.
    1.
    1.
    <.0001
    """,
)
"""The same, read at ``features.norm5``."""

TABLE_THREE: Mapping[tuple[str, str], tuple[str, str, str]] = {
    key: (mean, sd, p)
    for key, cell in _cells(
        ("convnext", "densenet", "resnet", "vgg"),
        """
        .1696/.2409/.00568  .1140/.2272/.65943  .1339/.2532/.21707  .1354/.2473/.51132
        .2052/.3042/        .1163/.2274/        .1411/.2561/        .1317/.2420/
        .1919/.2758/.3544   .1131/.2226/.53783  .136/.2501/.37022   .1328/.2433/.84450
        .1872/.286/.22602   .1244/.2417/.13240  .1395/.2584/.78072  .1020/.2096/<.0001
        .1686/.2783/.00988  .1248/.2393/.10838  .1405/.2603/.92128  .1539/.2650/<.0001
        .2059/.3104/.9665   .1248/.2366/.10598  .1349/.2536/.28969  .1473/.2590/.00645
        """,
    ).items()
    for mean, sd, p in (cell.split("/"),)
}
"""Mean confidence drop, its standard deviation, and the p-value of the paired t test against CASE."""

CHANNELS: Mapping[str, str] = {
    "convnext": "several hundred",
    "densenet": "fewer than 20",
    "densenet-norm5": "nearly all, peak about 1050",
    "resnet": "several hundred",
    "vgg": "several hundred",
}
"""Section V-B: the mean number of active channels, in its words."""


def rejects(p: str, alpha: float = 0.05) -> bool:
    """Tell whether a printed p-value is below ``alpha``."""
    return p.startswith("<") or float(p) < alpha
