"""How the learning rate changes over a run, and the running mean of a network's weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from napari_medseg.settings import TrainSettings

LOWEST = 0.04  # share of the rate at which a one-cycle run begins


def rate_factor(settings: TrainSettings, steps: int, total: int, drops: int) -> float:
    """Return what the initial rate is multiplied by after `steps` of `total` steps and `drops` plateaus.

    ``one-cycle`` rises over the share ``rise`` of the run and falls to 0, each along half a cosine (Smith 2018);
    ``cosine`` only falls.
    """
    halvings = steps // settings.halve_steps if settings.halve_steps else 0
    factor = float(settings.plateau_factor**drops * 0.5**halvings)
    if settings.schedule == "constant":
        return factor
    done = min(steps / max(total, 1), 1.0)
    rise = settings.rise if settings.schedule == "one-cycle" else 0.0
    if done < rise:
        return factor * (LOWEST + (1 - LOWEST) * (1 - math.cos(math.pi * done / rise)) / 2)
    return factor * (1 + math.cos(math.pi * (done - rise) / max(1 - rise, 1e-9))) / 2


class WeightAverage:
    """Exponential moving average of a network's weights (Polyak averaging); batch-norm statistics are the latest.

    Early on the average is short, so that the first weights are soon forgotten: after n steps the decay is no more than
    (1 + n) / (10 + n).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int) -> None:
        """Take in the weights of `network` after step number `steps` (from 1)."""
        share = 1 - min(self.decay, (1 + steps) / (10 + steps))
        for mean, weight in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(weight, share)
        for statistic, latest in zip(self.network.buffers(), network.buffers(), strict=True):
            statistic.copy_(latest)
