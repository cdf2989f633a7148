"""What tests of image files share: reading one, and the one sentence that an unreadable one gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_saliency.engine.images import image_file
from pytest_saliency.engine.reading import FileReading
from pytest_saliency.errors import CasesError


def pixels(path: Path, **reading: Any) -> np.ndarray:
    """Return the pixels of a file, read as declared."""
    return image_file(path, FileReading(**reading)).load("case").numpy()


def said(path: Path, **reading: Any) -> str:
    """Return the sentence that a file gives instead of pixels; it names the case and the file, in one line."""
    with pytest.raises(CasesError) as caught:
        image_file(path, FileReading(**reading)).load("case-7")
    text = str(caught.value)
    assert "'case-7'" in text
    assert str(path) in text
    assert "\n" not in text
    return text
