"""How often intervals for a mean hold the true mean: a grid, method by method.

``python -m benchmarks.bench_coverage [--trials 1000] [--resamples 1000]``

Figures of a patient share a part of their spread (half of the variance). "Dice" is Beta(8, 1.2):
mean 0.87, most above 0.9, a tail down to 0.5. "Dice, 10 % fail" sets one in ten of a patient's
scans together to 0, as failed scans score. "heavy" is lognormal (sigma 1), as HD95 with outliers.
"difference" is what `medseg compare` sees where one of two methods fails on 5 % of the patients.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from medseg.config import EvaluateConfig
from medseg.evaluation.intervals import mean_interval

DESIGNS = ((5, 1), (8, 1), (10, 1), (20, 1), (40, 1), (10, 4), (20, 2))
UNIT, POSITIVE, ANY, SPAN = (0.0, 1.0), (0.0, np.inf), (-np.inf, np.inf), (-1.0, 1.0)
BETA_MEAN = 8 / 9.2


def dice(uniform, failed):
    return stats.beta.ppf(uniform, 8, 1.2)


def dice_fails(uniform, failed):
    return np.where(failed < 0.1, 0.0, dice(uniform, failed))


def good_dice_fails(uniform, failed):
    return np.where(failed < 0.1, 0.0, stats.beta.ppf(uniform, 40, 2))


def normal(uniform, failed):
    return stats.norm.ppf(uniform)


def heavy(uniform, failed):
    return stats.lognorm.ppf(uniform, 1.0)


def difference(uniform, failed):
    """Normal differences of 0.02, SD 0.02; the first method gives 0 instead of 0.87 in 5 %."""
    return 0.02 + 0.02 * stats.norm.ppf(uniform) + np.where(failed < 0.05, BETA_MEAN, 0.0)


SHAPES = {
    "Dice": (dice, BETA_MEAN, UNIT),
    "Dice, 10 % fail": (dice_fails, 0.9 * BETA_MEAN, UNIT),
    "good Dice, 10 % fail": (good_dice_fails, 0.9 * 40 / 42, UNIT),
    "normal": (normal, 0.0, ANY),
    "heavy": (heavy, float(np.exp(0.5)), POSITIVE),
    "difference, 5 % fail": (difference, 0.02 + 0.05 * BETA_MEAN, SPAN),
}


def draw(random, patients, scans, shape):
    """(patients * scans,) figures of the shape's distribution, related within patients."""
    shared = random.normal(size=(patients, 1)) * np.sqrt(0.5)
    own = random.normal(size=(patients, scans)) * np.sqrt(0.5)
    failed = np.repeat(random.random((patients, 1)), scans, axis=1)
    return shape(stats.norm.cdf(shared + own), failed).ravel()


def t_interval(values, patients, config):
    """The textbook's: patients' means, Student's t."""
    means = values.reshape(patients, -1).mean(axis=1)
    half = stats.t.ppf(0.5 + config.confidence / 2, len(means) - 1) * stats.sem(means)
    return means.mean() - half, means.mean() + half


def trial(values, patients, bounds, options, seed):
    """Ends of each method's interval; NaN where it gives none."""
    names = np.repeat(np.arange(patients), len(values) // patients)
    ends = {}
    for method in ("auto", "studentised", "bca"):
        chosen = "studentised" if method == "auto" and bounds == SPAN else method  # as in compare
        config = EvaluateConfig(interval=chosen, resamples=options.resamples, seed=seed)
        found = mean_interval(values, names, config, bounds=bounds)
        ends[method] = found.low, found.high
    ends["t"] = t_interval(values, patients, EvaluateConfig())
    return ends


def cell(pairs, mean):
    """Share of intervals that hold the mean, and their mean width; a dash for none."""
    ends = np.array(pairs)
    if np.isnan(ends).any():
        return "-"
    inside = ((ends[:, 0] <= mean) & (mean <= ends[:, 1])).mean()
    return f"{inside:.1%} ({np.diff(ends, axis=1).mean():.3f})"


def main() -> None:
    """Print the share of trials whose interval holds the true mean, and the mean width."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    print(
        f"{options.trials} trials, {options.resamples} resamples, 95 % intervals; "
        f"standard error of a share near 95 %: {np.sqrt(0.95 * 0.05 / options.trials):.2%}"
    )
    methods = ("auto", "studentised", "bca", "t")
    print(f"{'patients x scans':18}{'figures':22}" + "".join(f"{m:>18}" for m in methods))
    for patients, scans in DESIGNS:
        for name, (shape, mean, bounds) in SHAPES.items():
            random = np.random.default_rng(7)
            trials = [
                trial(draw(random, patients, scans, shape), patients, bounds, options, seed)
                for seed in range(options.trials)
            ]
            texts = [cell([ends[method] for ends in trials], mean) for method in methods]
            print(
                f"{f'{patients} x {scans}':18}{name:22}" + "".join(f"{text:>18}" for text in texts),
                flush=True,
            )


if __name__ == "__main__":
    main()
