"""The classifier: a backbone of timm, a loss with weights for the classes, an optimizer."""

import pytorch_lightning as pl
import timm
import torch
from torch import nn


class Classifier(pl.LightningModule):
    def __init__(self, backbone: str, classes: list[str], learning_rate: float = 1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.model = timm.create_model(backbone, num_classes=len(classes), output_stride=8)
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(len(classes)))

    def forward(self, images):
        return self.model(images)

    def training_step(self, batch, _):
        images, labels = batch
        loss = self.loss(self(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        images, labels = batch
        self.log("val_acc", (self(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.learning_rate)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=3)]
