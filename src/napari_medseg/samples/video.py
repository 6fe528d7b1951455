"""Generated nerve-reflectance movies: a bright branching tube on dark muscle, with tendon and general-field frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.movies.writer import Codec, MovieWriter

CLASSES = ("Nerve", "General Field", "Tendon")
FPS = 20.0
MUSCLE, FASCIA, NERVE_GAIN, TENDON_GAIN = 58.0, 26.0, 95.0, 80.0


def nerve_video(seed: int = 0, frames: int = 60, size: tuple[int, int] = (128, 128)) -> tuple[Image, Image]:
    """Return a movie ``TYXC`` uint8 and its nerve masks ``TYX`` (0/1), at 20 frames per second.

    The movie runs through general field, tendon, general field, nerve and general field again. All frames share dark
    muscle texture, a saturated wedge in one corner, specular dots and a slow exposure drift; the camera sways. The
    tendon is a broad striped band without branches. ``metadata["classes"]`` names the class of every frame.

    Parameters
    ----------
    seed
        Of the scene and of the noise.
    frames
        Number of frames, at least 5.
    size
        Height and width in pixels, at least 32.

    Raises
    ------
    DataError
        If the movie would be too short or too small.
    """
    if frames < 5 or min(size) < 32:
        raise DataError(f"nerve_video needs at least 5 frames of 32x32 pixels, got {frames} of {size}.")
    rng = np.random.default_rng(seed)
    scene = _Scene(rng, size)
    classes = _stages(frames, rng)
    movie = np.empty((frames, *size, 3), np.uint8)
    masks = np.zeros((frames, *size), np.uint8)
    for k, name in enumerate(classes):
        movie[k], masks[k] = scene.frame(k, name, rng)
    metadata: dict[str, Any] = {"classes": classes, "video": {"fps": str(int(FPS)), "frames": frames}, "seed": seed}
    scale, units = (1 / FPS, 1.0, 1.0), ("second", "pixel", "pixel")
    name = f"nerve_video_{seed}"
    picture = Image(movie, "TYXC", scale, units, name=name, channels=("red", "green", "blue"), metadata=metadata)
    return picture, picture.labels_like(masks, f"{name}_labels")


def write_movie(
    path: str | Path, image: Image, codec: Codec = "ffv1", options: Mapping[str, str] | None = None
) -> Path:
    """Write a ``TYXC`` or ``TYX`` uint8 image as a movie with its own frame rate, and return the path.

    `options` go to the encoder, for example ``{"g": "12", "bf": "2"}``.
    """
    path = Path(path)
    height, width = image.spatial_shape[1:]
    gray = "C" not in image.axes
    with MovieWriter(path, 1 / image.scale[0], (height, width), codec, gray, dict(options or {})) as writer:
        for k in range(image.data.shape[0]):
            writer.write(np.asarray(image.data[k]))
    return path


def video_folders(
    folder: str | Path, videos: int = 4, frames: int = 30, size: tuple[int, int] = (128, 128), seed: int = 0
) -> Path:
    """Write training folders from `videos` generated movies and return `folder`.

    ``classification/<Class>/videoNN_<frame>.png`` holds every frame under its class;
    ``segmentation/{image,mask}/videoNN_<frame>.png`` the nerve frames with masks 0/255.
    """
    from PIL import Image as Picture

    folder = Path(folder)
    for part in (*(f"classification/{name}" for name in CLASSES), "segmentation/image", "segmentation/mask"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for video in range(videos):
        movie, labels = nerve_video(seed + video, frames, size)
        for k, name in enumerate(movie.metadata["classes"]):
            file = f"video{video:02d}_{k:04d}.png"
            Picture.fromarray(movie.data[k]).save(folder / "classification" / name / file)
            if name == CLASSES[0]:
                Picture.fromarray(movie.data[k]).save(folder / "segmentation" / "image" / file)
                Picture.fromarray(labels.data[k] * np.uint8(255)).save(folder / "segmentation" / "mask" / file)
    return folder


def _stages(frames: int, rng: np.random.Generator) -> list[str]:
    """Return the class of every frame: field, tendon, field, nerve, field; the nerve takes about two fifths."""
    shares = np.array([0.12, 0.2, 0.1, 0.44, 0.14]) * rng.uniform(0.9, 1.1, 5)
    ends = np.round(np.cumsum(shares / shares.sum()) * frames).astype(int)
    names = (CLASSES[1], CLASSES[2], CLASSES[1], CLASSES[0], CLASSES[1])
    return [names[int(np.searchsorted(ends, k, "right"))] for k in range(frames)]


class _Scene:
    """What stays fixed during one movie: texture, nerve tree, tendon, wedge, and the sway of the camera."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.size = size
        self._unit = min(size) / 128
        self._margin = int(np.ceil(8 * self._unit))
        self._big = (size[0] + 2 * self._margin, size[1] + 2 * self._margin)
        self._muscle = _texture(rng, self._big, self._unit)
        self._nerve = self._tree(rng)
        self._tendon = self._band(rng)
        self._wedge = self._edge(rng)
        self._phases = rng.uniform(0, 2 * np.pi, 4)
        self._drift = rng.uniform(0.08, 0.18)

    def frame(self, k: int, name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return frame `k` (Y, X, 3) uint8 and its mask (Y, X) uint8."""
        tube = self._nerve if name == CLASSES[0] else np.zeros(self._big)
        light = self._muscle + NERVE_GAIN * tube
        if name == CLASSES[2]:
            light = light + TENDON_GAIN * self._tendon
        sway = np.sin(k / 9 + self._phases[:2]) * self._margin * 0.8
        top, left = (self._margin + np.round(sway)).astype(int)
        window = np.s_[top : top + self.size[0], left : left + self.size[1]]
        exposure = 1 + self._drift * np.sin(k / 14 + self._phases[2])
        picture = light[window] * exposure + rng.normal(0, 3, self.size)
        picture = np.where(self._wedge, 255, picture)
        picture = self._specular(picture, rng)
        grey = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        mask = (tube[window] > 0.5) & ~self._wedge
        return np.repeat(grey[..., None], 3, 2), mask.astype(np.uint8)

    def _specular(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows, columns = np.ogrid[: self.size[0], : self.size[1]]
        for _ in range(int(rng.integers(3, 9))):
            y, x = rng.uniform(0, 1, 2) * self.size
            radius = rng.uniform(0.8, 2.2) * self._unit
            picture = np.where((rows - y) ** 2 + (columns - x) ** 2 < radius**2, 255, picture)
        return picture

    def _tree(self, rng: np.random.Generator) -> np.ndarray:
        """Return the nerve's profile (0..1): a trunk across the view and two or three thinner branches."""
        distance = np.full(self._big, np.inf)
        angle = rng.uniform(-0.5, 0.5) + (np.pi / 2 if rng.random() < 0.5 else 0.0)
        centre = np.array(self._big) / 2 + rng.uniform(-10, 10, 2) * self._unit
        length = float(np.hypot(*self._big))
        trunk = _curve(centre, angle, length, rng, self._unit)
        tubes = [(trunk, rng.uniform(5.0, 7.5) * self._unit)]
        for _ in range(int(rng.integers(2, 4))):
            start = trunk[int(rng.uniform(0.35, 0.65) * len(trunk))]
            turn = angle + rng.choice([-1, 1]) * rng.uniform(0.4, 0.9)
            branch = _curve(start, turn, length, rng, self._unit)[len(trunk) // 2 :]
            tubes.append((branch, rng.uniform(2.2, 3.4) * self._unit))
        for points, radius in tubes:
            distance = np.minimum(distance, _distance(points, self._big) / radius)
        return np.asarray(1 / (1 + np.exp(np.minimum((distance - 1) * 8, 50))))

    def _band(self, rng: np.random.Generator) -> np.ndarray:
        """Return the tendon's brightness (0..1): a broad straight band with fine stripes along it."""
        rows, columns = np.indices(self._big)
        angle = rng.uniform(0, np.pi)
        across = (rows - self._big[0] / 2) * np.cos(angle) - (columns - self._big[1] / 2) * np.sin(angle)
        width = rng.uniform(22, 30) * self._unit
        stripes = 0.8 + 0.2 * np.sin(across / self._unit * 1.9 + rng.uniform(0, 6))
        return np.asarray(stripes / (1 + np.exp((np.abs(across) - width) / (1.5 * self._unit))))

    def _edge(self, rng: np.random.Generator) -> np.ndarray:
        """Return the saturated wedge (paper, skin edge) in one corner as a mask."""
        rows, columns = np.indices(self.size) / np.array(self.size)[:, None, None]
        rows = rows if rng.random() < 0.5 else 1 - rows
        columns = columns if rng.random() < 0.5 else 1 - columns
        return np.asarray(rows + columns * rng.uniform(0.6, 1.6) < rng.uniform(0.25, 0.4))


def _texture(rng: np.random.Generator, size: tuple[int, int], unit: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    coarse = gaussian_filter(rng.normal(0, 1, size), 9 * unit)
    fibres = gaussian_filter(rng.normal(0, 1, size), (1.0 * unit, 5 * unit))
    return np.asarray(MUSCLE + FASCIA * coarse / (3 * coarse.std()) + 4 * fibres / fibres.std())


def _curve(centre: np.ndarray, angle: float, length: float, rng: np.random.Generator, unit: float) -> np.ndarray:
    """Return points (N, 2) of a gently bent line through `centre`."""
    along = np.linspace(-length / 2, length / 2, 161)
    bend = rng.uniform(3, 8) * unit * np.sin(along / length * 2 * np.pi * rng.uniform(0.5, 1.2))
    direction, normal = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    points: np.ndarray = centre + along[:, None] * direction + bend[:, None] * normal
    return points


def _distance(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the distance of every pixel to the nearest of `points`, in pixels."""
    from scipy.spatial import cKDTree

    pixels = np.indices(size).reshape(2, -1).T
    distance: np.ndarray = cKDTree(points).query(pixels)[0].reshape(size)
    return distance
