"""Thin strokes along the rim of a good proposal mend it; many of them in one round do not spoil it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_medseg import Image, run
from napari_medseg.methods.deepigeos.simulated_user import simulate
from napari_medseg.refinement import RefinementSession

SHAPE = (32, 40, 36)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * ((mask > 0) & truth).sum() / ((mask > 0).sum() + truth.sum()))


@pytest.mark.parametrize("contrast", [0.3, 1.0])
def test_rounds_of_thin_strokes_on_all_errors_mend_a_proposal(contrast: float) -> None:
    z, y, x = np.indices(SHAPE)
    truth = ((z - 16) / 8) ** 2 + ((y - 20) / 13) ** 2 + ((x - 18) / 9) ** 2 < 1
    rng = np.random.default_rng(0)
    picture = ndimage.gaussian_filter(truth.astype(float), 1) * contrast + rng.normal(0, 0.15, SHAPE)
    proposal = ndimage.shift(truth.astype(np.uint8), (1, 1, 0), order=0)
    image = Image(picture.astype(np.float32), "ZYX", (1.0,) * 3, ("millimeter",) * 3)
    session = RefinementSession(image, proposal=image.labels_like(proposal))
    scores, scribbles = [dice(session.mask, truth)], np.zeros(SHAPE, np.uint8)
    for k in range(3):
        new = simulate(truth.astype(np.uint8), session.mask, np.random.default_rng(k), rule="scribble", smallest=5)
        scribbles = np.where(new > 0, new, scribbles)
        run(session.refine(scribbles))
        scores.append(dice(session.mask, truth))
    assert min(scores[1:]) > scores[0] - 0.01, scores
    assert scores[-1] > scores[0] + 0.01, scores
