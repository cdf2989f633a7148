from pathlib import Path

import yaml

from cxr.module import Classifier


def build(config: str = "base"):
    path = Path(__file__).parents[2] / "configs" / f"{config}.yaml"
    return Classifier(**yaml.safe_load(path.read_text())["model"])
