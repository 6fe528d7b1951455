"""Train the toy method from a script, alone or under ``torchrun``: ``python ddp_run.py CASES RUN``."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn
from toy import ToyMethod

from napari_medseg.jobs import run
from napari_medseg.settings import TrainSettings
from napari_medseg.training import distributed as parallel
from napari_medseg.training.loop import train


class Plain(ToyMethod):
    """Without batch norm and dropout, whose statistics and draws belong to one process."""

    def build_network(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))


def main() -> None:
    settings = TrainSettings(epochs=3, batch_size=4, learning_rate=0.05, device="cpu", validation_fraction=0.3)
    parallel.start()
    run(train(Plain(), Path(sys.argv[1]), Path(sys.argv[2]), settings))
    parallel.stop()


if __name__ == "__main__":
    main()
