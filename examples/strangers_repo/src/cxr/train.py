"""python -m cxr.train configs/base.yaml"""

import sys
from pathlib import Path

import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import ModelCheckpoint

from cxr.data import Images
from cxr.module import Classifier


def main(path: str) -> None:
    config = yaml.safe_load(Path(path).read_text())
    pl.seed_everything(config["seed"])
    images = Images(**config["data"], classes=config["model"]["classes"])
    keep = ModelCheckpoint("checkpoints", save_top_k=-1, save_last=True, monitor="val_acc", mode="max")
    trainer = pl.Trainer(
        **config["trainer"],
        accelerator="cpu",
        callbacks=[keep],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(**config["model"]), images)


if __name__ == "__main__":
    main(sys.argv[1])
