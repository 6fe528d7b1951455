"""VGG and Xception encoders whose parameter names equal those of the public ImageNet files."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from napari_medseg.nn.blocks import SamePool, batch_norm, he_normal

VGG_CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
VGG_WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Convolutional part of VGG16 or VGG19 (Simonyan and Zisserman 2015) without the last pooling.

    Parameters
    ----------
    name
        ``"vgg16"`` or ``"vgg19"``.
    in_channels
        Channels of the input; ImageNet files need 3.
    width
        Channels of the first stage; ImageNet files need 64.

    Notes
    -----
    Names are torchvision's ``features.N.weight``.
    """

    def __init__(self, name: str, in_channels: int = 3, width: int = VGG_WIDTHS[0]) -> None:
        super().__init__()
        self.widths = tuple(full * width // VGG_WIDTHS[0] for full in VGG_WIDTHS)
        layers: list[nn.Module] = []
        for stage, (repeats, channels) in enumerate(zip(VGG_CONVOLUTIONS[name], self.widths, strict=True)):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for _ in range(repeats):
                layers += [he_normal(nn.Conv2d(in_channels, channels, 3, padding=1)), nn.ReLU(inplace=True)]
                in_channels = channels
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, C, H, W) to the last ReLU of each of the 5 stages, strides 1, 2, 4, 8, 16."""
        stages = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                stages.append(x)
            x = layer(x)
        return [*stages, x]


class Separable(nn.Module):
    """Depthwise 3x3 convolution followed by a pointwise one, without biases."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H, W)."""
        out: Tensor = self.pointwise(self.conv1(x))
        return out


class XceptionBlock(nn.Module):
    """Separable convolutions with batch normalisation, with a pooled or an identity shortcut.

    Parameters
    ----------
    widths
        Channels before the first and after each separable convolution.
    pool
        Halve the size at the end; the shortcut is then a strided 1x1 convolution.
    first_relu
        Whether a ReLU precedes the first convolution.
    shortcut
        Without it only the convolutions remain (the cut last block of U-Xception).
    """

    def __init__(
        self, widths: tuple[int, ...], *, pool: bool = False, first_relu: bool = True, shortcut: bool = True
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.ReLU(inplace=bool(layers)), Separable(before, after), batch_norm(after)]
        self.rep = nn.Sequential(*(layers if first_relu else layers[1:]))
        self.pool = SamePool() if pool else None
        self.shortcut = shortcut
        if shortcut and pool:
            self.skip = nn.Conv2d(widths[0], widths[-1], 1, stride=2, bias=False)
            self.skipbn = batch_norm(widths[-1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to the last batch normalisation and the block's output."""
        features = self.rep(x)
        if not self.shortcut:
            return features, features
        if self.pool is None:
            return features, features + x
        return features, self.pool(features) + self.skipbn(self.skip(x))


class Xception(nn.Module):
    """Xception (Chollet 2017) up to the second separable convolution of Keras' block 13.

    Notes
    -----
    Names are timm's ``legacy_xception``, whose ``block1`` is Keras' ``block2``.
    """

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.widths = (128, 256, 728, 1024)
        self.conv1 = nn.Conv2d(in_channels, 32, 3, stride=2, bias=False)
        self.bn1 = batch_norm(32)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.bn2 = batch_norm(64)
        self.block1 = XceptionBlock((64, 128, 128), pool=True, first_relu=False)
        self.block2 = XceptionBlock((128, 256, 256), pool=True)
        self.block3 = XceptionBlock((256, 728, 728), pool=True)
        for i in range(4, 12):
            self.add_module(f"block{i}", XceptionBlock((728,) * 4))
        self.block12 = XceptionBlock((728, 728, 1024), shortcut=False)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                he_normal(layer)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, C, 32m, 32n) to features of sizes 16m-3, 8m-1, 4m and 2m (likewise n)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        stages = []
        for i in range(1, 13):
            features, x = self.get_submodule(f"block{i}")(x)
            if i in (1, 2, 3):
                stages.append(features)
        return [*stages, x]
