"""Stands in for a hospital's images: grey pictures with one clear finding and one faint one, several a patient.

The label is the clear one: a bright disc (Nodule), bars that lie (Effusion) or bars that stand (No Finding).
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, PATCH = 64, 20
CLASSES = ("No Finding", "Effusion", "Nodule")
PLACES = [(y, x) for y in (6, 38) for x in (6, 38)]


def patch(label: str) -> np.ndarray:
    y, x = np.mgrid[:PATCH, :PATCH]
    if label == "Nodule":
        return ((y - PATCH / 2 + 0.5) ** 2 + (x - PATCH / 2 + 0.5) ** 2 < (PATCH / 2) ** 2).astype(float)
    return ((y if label == "Effusion" else x) // 3 % 2).astype(float)


def main(folder: str, patients: int = 120) -> None:
    root, draw = Path(folder), np.random.default_rng(5)
    (root / "images").mkdir(parents=True)
    with (root / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Image Index", "Finding Labels", "Patient ID", "View Position", "split"])
        for patient in range(patients):
            for follow_up in range(2 + patient % 2):
                clear, faint = draw.permutation(len(CLASSES))[:2]
                first, second = draw.permutation(len(PLACES))[:2]
                pixels = 0.3 + 0.05 * draw.standard_normal((SIDE, SIDE))
                for label, place, light in ((clear, first, 0.6), (faint, second, 0.25)):
                    y, x = PLACES[place]
                    pixels[y : y + PATCH, x : x + PATCH] += light * patch(CLASSES[label])
                name = f"{patient + 1:08d}_{follow_up:03d}.png"
                Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(root / "images" / name)
                split = "val" if patient % 3 == 0 else "train"
                table.writerow([name, CLASSES[clear], patient + 1, ("PA", "AP")[follow_up % 2], split])


if __name__ == "__main__":
    main(sys.argv[1])
