"""Images that a table lists, with patients and splits."""

from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

TRANSFORM = v2.Compose(
    [
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5, 0.5, 0.5], [0.25, 0.25, 0.25]),
    ]
)


class Table(Dataset):
    def __init__(self, frame: pd.DataFrame, images: Path, classes: list[str]):
        self.frame, self.images, self.classes = frame.reset_index(drop=True), images, classes

    def __len__(self):
        return len(self.frame)

    def __getitem__(self, index):
        row = self.frame.loc[index]
        image = Image.open(self.images / row["Image Index"]).convert("RGB")
        return TRANSFORM(image), self.classes.index(row["Finding Labels"])


class Images(pl.LightningDataModule):
    def __init__(self, table: str, images: str, classes: list[str], batch_size: int):
        super().__init__()
        self.table, self.images, self.classes, self.batch_size = Path(table), Path(images), classes, batch_size

    def setup(self, stage=None):
        frame = pd.read_csv(self.table)
        self.parts = {name: Table(part, self.images, self.classes) for name, part in frame.groupby("split")}

    def train_dataloader(self):
        return DataLoader(self.parts["train"], self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.parts["val"], self.batch_size)
