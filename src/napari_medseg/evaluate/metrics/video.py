"""Metrics of frame classification and of nerve masks over a movie, with confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from napari_medseg.errors import DataError

Empty = Literal["one", "zero"]
BOOTSTRAPS = 2000


def classification_scores(
    truth: np.ndarray, score: np.ndarray, threshold: float = 0.5, predicted: np.ndarray | None = None,
    confidence: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Return TPR, TNR, PPV, NPV, ACC, MCC and AUC of one class against the rest, each with low and high.

    Parameters
    ----------
    truth
        Whether each frame is of the class (N,).
    score
        Probability of the class (N,).
    threshold, predicted
        The class is predicted above `threshold`, unless `predicted` (N,) says so itself.
    confidence, seed
        Of the intervals: Wilson's for ratios, DeLong's for AUC, a seeded bootstrap of the four counts for MCC. All
        stay within the metric's range.

    Raises
    ------
    DataError
        If the lengths differ or there are no frames.
    """
    truth, score = np.asarray(truth, bool), np.asarray(score, float)
    chosen = score > threshold if predicted is None else np.asarray(predicted, bool)
    if not len(truth) == len(score) == len(chosen) or not len(truth):
        raise DataError(f"{len(truth)} true classes, {len(score)} scores and {len(chosen)} predictions do not fit.")
    tp, fp = int((chosen & truth).sum()), int((chosen & ~truth).sum())
    fn, tn = int((~chosen & truth).sum()), int((~chosen & ~truth).sum())
    ratios = {
        "TPR": (tp, tp + fn), "TNR": (tn, tn + fp), "PPV": (tp, tp + fp), "NPV": (tn, tn + fn),
        "ACC": (tp + tn, len(truth)),
    }  # fmt: skip
    rows = [{"metric": name, **_wilson(k, n, confidence)} for name, (k, n) in ratios.items()]
    rows.append({"metric": "MCC", **_mcc_interval(np.array([tp, fp, fn, tn]), confidence, seed)})
    rows.append({"metric": "AUC", **_delong(score[truth], score[~truth], confidence)})
    return pd.DataFrame(rows)


def mcc(tp: float, fp: float, fn: float, tn: float) -> float:
    """Return (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)), 0 where undefined."""
    product = float(tp + fp) * float(tp + fn) * float(tn + fp) * float(tn + fn)
    return float((tp * tn - fp * fn) / np.sqrt(product)) if product > 0 else 0.0


def mask_scores(
    predicted: Iterable[np.ndarray], truth: Iterable[np.ndarray], empty: Empty = "one", confidence: float = 0.95
) -> pd.DataFrame:
    """Return Dice and IoU of masks frame by frame, averaged three ways.

    Rows: ``all frames`` (a false alarm scores 0), ``nerve frames`` (the pipeline's score: a missed nerve frame is 0)
    and ``found frames`` (nerve in both: the segmenter alone). Columns: frames, and for Dice and IoU mean, sd, low, high
    (t interval of the mean) and pooled (all pixels together).

    Parameters
    ----------
    predicted, truth
        Masks (Y, X) of the same frames; anything but 0 is nerve.
    empty
        Score of a frame that is empty in both: ``"one"``, or ``"zero"`` as the authors count.
    confidence
        Of the intervals.

    Raises
    ------
    DataError
        If number or size of the frames differ.
    """
    counts: list[tuple[int, int, int]] = []
    try:
        for p, t in zip(predicted, truth, strict=True):
            if p.shape != t.shape:
                raise DataError(f"Frame {len(counts)} is {p.shape} in the prediction, {t.shape} in the reference.")
            counts.append(count(p, t))
    except ValueError as error:
        raise DataError("Prediction and reference have different numbers of frames.") from error
    return score_counts(counts, empty, confidence)


def count(predicted: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    """Return the pixels of the overlap, of the predicted mask and of the true one; anything but 0 is nerve."""
    a, b = predicted != 0, truth != 0
    return int((a & b).sum()), int(a.sum()), int(b.sum())


def score_counts(
    counts: Iterable[tuple[int, int, int]], empty: Empty = "one", confidence: float = 0.95
) -> pd.DataFrame:
    """Return the table of `mask_scores` from the `count` of every frame."""
    overlap, found, real = np.array(list(counts), float).reshape(-1, 3).T
    groups = {
        "all frames": np.ones(len(real), bool),
        "nerve frames": real > 0,
        "found frames": (real > 0) & (found > 0),
    }
    rows = []
    for name, chosen in groups.items():
        o, f, r = overlap[chosen], found[chosen], real[chosen]
        row: dict[str, object] = {"over": name, "frames": int(chosen.sum())}
        row |= _spread("dice", 2 * o, f + r, empty, confidence)
        row |= _spread("iou", o, f + r - o, empty, confidence)
        rows.append(row)
    return pd.DataFrame(rows)


def _spread(name: str, above: np.ndarray, below: np.ndarray, empty: Empty, confidence: float) -> dict[str, float]:
    """Return mean, SD and confidence interval over frames of a ratio (n,) / (n,), and the ratio of the sums."""
    from scipy import stats

    values = np.divide(above, below, out=np.full(len(above), float(empty == "one")), where=below > 0)
    n = len(values)
    mean = float(values.mean()) if n else np.nan
    sd = float(values.std(ddof=1)) if n > 1 else np.nan
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * sd / np.sqrt(n) if n > 1 else np.nan
    pooled = float(above.sum() / below.sum()) if below.sum() > 0 else float(empty == "one")
    return {name: mean, f"{name}_sd": sd, f"{name}_low": mean - half, f"{name}_high": mean + half,
            f"{name}_pooled": pooled}  # fmt: skip


def _wilson(k: int, n: int, confidence: float) -> dict[str, float]:
    from scipy import stats

    if not n:
        return {"value": np.nan, "low": np.nan, "high": np.nan}
    interval = stats.binomtest(k, n).proportion_ci(confidence, "wilson")
    return {"value": k / n, "low": float(interval.low), "high": float(interval.high)}


def _mcc_interval(counts: np.ndarray, confidence: float, seed: int) -> dict[str, float]:
    draws = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), BOOTSTRAPS)
    low, high = np.quantile([mcc(*draw) for draw in draws], [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": mcc(*counts), "low": float(low), "high": float(high)}


def _delong(positive: np.ndarray, negative: np.ndarray, confidence: float) -> dict[str, float]:
    """Return the area under the ROC curve with the interval of DeLong et al. (1988)."""
    from scipy import stats

    m, n = len(positive), len(negative)
    if not m or not n:
        return {"value": np.nan, "low": np.nan, "high": np.nan}
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    above = (ranks[:m] - stats.rankdata(positive)) / n  # share of negatives below each positive
    below = 1 - (ranks[m:] - stats.rankdata(negative)) / m
    area = float(above.mean())
    variance = (above.var(ddof=1) / m if m > 1 else 0.0) + (below.var(ddof=1) / n if n > 1 else 0.0)
    half = float(stats.norm.ppf((1 + confidence) / 2) * np.sqrt(variance))
    return {"value": area, "low": max(area - half, 0.0), "high": min(area + half, 1.0)}
