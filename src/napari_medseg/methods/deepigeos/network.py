"""P-Net and R-Net: full-resolution dilated networks (Wang et al. 2019, DeepIGeoS, figure 3), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_medseg.errors import CheckpointError
from napari_medseg.methods.deepigeos.crf import CRFNet

DILATIONS = {2: (1, 2, 4, 8, 16), 3: (1, 2, 3, 4, 5)}
CONVOLUTIONS = (2, 2, 3, 3, 3)
PAPER_WIDTH = {2: 64, 3: 16}
FIRST = "net.blocks.0.0.weight"


class PRNet(nn.Module):
    """Five dilated blocks at full resolution whose outputs together feed a small classifier.

    2D: 3x3 convolutions of dilation 1, 2, 4, 8, 16; the concatenated blocks go through dropout and two 1x1
    convolutions. 3D (axes ``Z Y X``): the first convolution of a block is 3x3x3, the others 1x3x3 (in plane),
    dilation 1 to 5; each block is compressed to a quarter of its width before a 1x1x1 and a 3x3x3 convolution.
    With the paper's width of 64 (2D) and 16 (3D) one input channel and two classes give 485,122 and 48,262
    parameters, R-Net's four channels 486,850 and 49,558.

    The classifier's first convolution is summed block by block, which equals concatenation and lets every
    feature map be freed once its block is done.

    Parameters
    ----------
    in_channels
        M modalities for P-Net; modalities, initial segmentation and distance maps for R-Net.
    n_classes
        Output channels, background included.
    ndim
        2 or 3.
    width
        Channels of the blocks; 0: the paper's. In 3D a multiple of 4.
    modern
        Instance normalisation and leaky ReLU (0.01) instead of plain ReLU.
    dropout
        Probability before the two classifier convolutions (2D only; none is drawn for 3D).
    """

    def __init__(
        self,
        in_channels: int = 1,
        n_classes: int = 2,
        *,
        ndim: int = 2,
        width: int = 0,
        modern: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.ndim, self.modern = ndim, modern
        self.width = width or PAPER_WIDTH[ndim]
        widths = (in_channels, *[self.width] * len(CONVOLUTIONS))
        conv = nn.Conv2d if ndim == 2 else nn.Conv3d
        self.blocks = nn.ModuleList(
            self._block(a, b, n, d)
            for (a, b), n, d in zip(pairwise(widths), CONVOLUTIONS, DILATIONS[ndim], strict=True)
        )
        side = self.width if ndim == 2 else self.width // 4
        self.sides = nn.ModuleList(
            nn.Identity() if ndim == 2 else nn.Sequential(conv(self.width, side, 1), *self._activation(side))
            for _ in CONVOLUTIONS
        )
        hidden = 2 * self.width if ndim == 2 else self.width
        self.mix = conv(5 * side, hidden, 1)
        self.mix_activation = nn.Sequential(*self._activation(hidden))
        self.classify = conv(hidden, n_classes, 1 if ndim == 2 else 3, padding=0 if ndim == 2 else 1)
        self.dropout = nn.Dropout(dropout if ndim == 2 else 0.0)
        self._initialise()

    def _activation(self, channels: int) -> list[nn.Module]:
        if not self.modern:
            return [nn.ReLU(inplace=True)]
        return [InstanceNorm(channels), nn.LeakyReLU(0.01, inplace=True)]

    def _block(self, inputs: int, outputs: int, convolutions: int, dilation: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for index in range(convolutions):
            source = inputs if index == 0 else outputs
            if self.ndim == 2:
                layers.append(nn.Conv2d(source, outputs, 3, padding=dilation, dilation=dilation))
            elif index == 0:
                layers.append(nn.Conv3d(source, outputs, 3, padding=dilation, dilation=dilation))
            else:
                in_plane = (1, dilation, dilation)
                layers.append(nn.Conv3d(source, outputs, (1, 3, 3), padding=(0, dilation, dilation), dilation=in_plane))
            layers += self._activation(outputs)
        return nn.Sequential(*layers)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.classify.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *spatial) to logits (B, L, *spatial)."""
        weights = self.mix.weight.chunk(len(self.blocks), 1)
        convolve = F.conv2d if self.ndim == 2 else F.conv3d
        mixed: Tensor | None = None
        for index, (block, side) in enumerate(zip(self.blocks, self.sides, strict=True)):
            x = block(x)
            part = convolve(self.dropout(side(x)), weights[index], self.mix.bias if index == 0 else None)
            mixed = part if mixed is None else mixed.add_(part)
            del part
        del x
        return self.classify(self.dropout(self.mix_activation(mixed)))  # type: ignore[no-any-return]

    def receptive_radius(self) -> tuple[int, ...]:
        """Radius of the receptive field per spatial axis: (90, 90) in 2D, (16, 43, 43) in 3D.

        With `modern` the instance statistics see the whole input besides.
        """
        dilations = DILATIONS[self.ndim]
        in_plane = sum(n * d for n, d in zip(CONVOLUTIONS, dilations, strict=True))
        return (in_plane, in_plane) if self.ndim == 2 else (sum(dilations) + 1, in_plane + 1, in_plane + 1)

    def peak_bytes(self, shape: tuple[int, ...], bytes_per_value: int = 4) -> int:
        """Bytes of feature maps alive at once in inference on one image of `shape` (*spatial), without workspace.

        At the worst moment these are a block's output, its side output, the classifier's running sum and the
        summand: 16 + 4 + 16 + 16 channels, that is 1.86 GB for the paper's 3D network on 240x240x155 in float32.
        """
        voxels = 1
        for size in shape:
            voxels *= size
        hidden = self.mix.out_channels
        mixing = self.width + (0 if self.ndim == 2 else self.width // 4) + 2 * hidden
        return voxels * bytes_per_value * max(2 * self.width + hidden, mixing)


class InstanceNorm(nn.Module):
    """Instance normalisation with learnt scale and shift; of a batch of one through the faster batch normalisation.

    An exported network, traced with a batch of one but open to any, keeps the instance normalisation.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels)), eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *spatial) to the same shape: mean 0 and variance 1 of each channel of each image, then affine."""
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        if not tracing and len(x) == 1 and x[0, 0].numel() > 1:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return F.instance_norm(x, None, None, self.weight, self.bias, eps=self.eps)


def fold(x: Tensor, size: int) -> Tensor:
    """Fold blocks of `size` voxels along each axis of (B, C, *spatial) into channels (B, C size^n, *spatial / size)."""
    n = x.ndim - 2
    blocks = [part for length in x.shape[2:] for part in (length // size, size)]
    order = [0, 1, *range(3, 2 * n + 2, 2), *range(2, 2 * n + 2, 2)]
    folded = x.reshape(*x.shape[:2], *blocks).permute(order)
    return folded.reshape(len(x), -1, *blocks[::2])


def unfold(x: Tensor, size: int) -> Tensor:
    """Undo `fold`."""
    n, sizes = x.ndim - 2, x.shape[2:]
    blocks = x.reshape(len(x), -1, *[size] * n, *sizes)
    order = [0, 1, *(axis for k in range(n) for axis in (n + 2 + k, 2 + k))]
    return blocks.permute(order).reshape(len(x), -1, *[length * size for length in sizes])


class RefinedNet(nn.Module):
    """A P-Net or R-Net with its frame: a coarser grid or folding before, CRF-Net after, hard scribble constraints.

    Parameters
    ----------
    net
        The convolutional network.
    crf
        CRF-Net, or ``None``. While the buffer `crf_active` is 0 (the first phase of training) it is left out.
    downsample
        Factor by which the input is averaged before the first block and the logits are interpolated back
        (figure 3b); every spatial size must be a multiple of it.
    pack
        Edge of the blocks of voxels that are folded into channels before the first block (`fold`) and out of the
        logits: nothing is averaged, yet the network runs on `pack` ^ n times fewer places. `net` has `pack` ^ n times
        the channels at both ends.
    constrained
        The last input channel is not a feature but the scribble map (0 none, k + 1 for class k) that the
        CRF-Net(fu) takes as hard constraints.
    """

    def __init__(
        self, net: PRNet, crf: CRFNet | None = None, *, downsample: int = 1, pack: int = 1, constrained: bool = False
    ) -> None:
        super().__init__()
        self.net, self.crf = net, crf
        self.downsample, self.pack, self.constrained = downsample, pack, constrained
        self.crf_active: Tensor
        if crf is not None:
            self.register_buffer("crf_active", torch.ones((), dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *spatial), C counting the scribble channel if `constrained`, to logits (B, L, *spatial)."""
        scribbles = x[:, -1].round().long() if self.constrained else None
        features = x[:, :-1] if self.constrained else x
        small, small_scribbles = self._shrink(features, scribbles)
        logits: Tensor = self.net(small) if self.pack == 1 else unfold(self.net(fold(small, self.pack)), self.pack)
        if self.crf is None or not self.crf_active.item():
            if self.crf is not None and self.training:  # torchrun waits for the gradient of every parameter
                logits = logits + 0 * torch.stack([p.sum() for p in self.crf.parameters()]).sum()
            return self._grow(logits, x.shape[2:])
        logits = self.crf(logits, small[:, : self.crf.n_features], small_scribbles)
        logits = self._grow(logits, x.shape[2:])
        return logits if scribbles is None or self.downsample == 1 else self.crf.constrain(logits, scribbles)[0]

    def inherit(self, weights: Mapping[str, Tensor], name: str) -> None:
        """Take over the weights of another P-Net or R-Net; input channels that it lacks start at 0.

        Its CRF-Net is taken over if it has the same one.

        Raises
        ------
        CheckpointError
            If the networks differ in more than the input channels.
        """
        taken = {}
        for key, own in self.state_dict().items():
            given = weights.get(key)
            if given is not None and key == FIRST and given.shape[1] < own.shape[1]:
                new = given.new_zeros(given.shape[0], own.shape[1] - given.shape[1], *given.shape[2:])
                given = torch.cat([given, new], 1)
            if given is not None and given.shape == own.shape:
                taken[key] = given
            elif not key.startswith("crf"):
                raise CheckpointError(
                    f"{name} cannot be the start: it has another shape ({key}). "
                    "Give the same dimensions, width, classes and modern as it was trained with."
                )
        taken.pop("crf_active", None)
        self.load_state_dict(taken, strict=False)

    def _shrink(self, x: Tensor, scribbles: Tensor | None) -> tuple[Tensor, Tensor | None]:
        factor = self.downsample
        if factor == 1:
            return x, scribbles
        average = F.avg_pool2d if self.net.ndim == 2 else F.avg_pool3d
        strongest = F.max_pool2d if self.net.ndim == 2 else F.max_pool3d
        small = None if scribbles is None else strongest(scribbles[:, None].to(x.dtype), factor)[:, 0].long()
        return average(x, factor), small

    def _grow(self, logits: Tensor, shape: torch.Size) -> Tensor:
        if logits.shape[2:] == shape:
            return logits
        mode = "bilinear" if self.net.ndim == 2 else "trilinear"
        return F.interpolate(logits, size=tuple(shape), mode=mode, align_corners=False)
