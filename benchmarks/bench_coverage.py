"""How often does an interval for the mean hold the true mean?  Prints a grid, method by method.

``python -m benchmarks.bench_coverage [--trials 2000] [--resamples 1000]``

Figures of a patient share a part of their spread (half of the variance). Dice-like skew is
1 - Beta-like loss with a long tail to the left; heavy skew is lognormal (sigma 1).
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from medseg.config import EvaluateConfig
from medseg.evaluation.intervals import mean_interval

DESIGNS = ((40, 1), (20, 2), (10, 4))


def normal(uniform):
    return stats.norm.ppf(uniform)


def dice_like(uniform):
    """Beta(8, 1.2): mean 0.87, most above 0.9, a tail down to 0.5; skewness -1.4."""
    return stats.beta.ppf(uniform, 8, 1.2)


def heavy(uniform):
    """Lognormal of sigma 1: skewness 6.2, as HD95 with outliers."""
    return stats.lognorm.ppf(uniform, 1.0)


SHAPES = {
    "normal": (normal, 0.0, (-np.inf, np.inf)),
    "Dice-like": (dice_like, 8 / 9.2, (0.0, 1.0)),
    "heavy": (heavy, float(np.exp(0.5)), (0.0, np.inf)),
}


def draw(random, patients, cases, shape):
    """(patients * cases,) figures of the shape's exact distribution, related within patients."""
    shared = random.normal(size=(patients, 1)) * np.sqrt(0.5)
    own = random.normal(size=(patients, cases)) * np.sqrt(0.5)
    return shape(stats.norm.cdf(shared + own)).ravel()


def t_interval(values, patients, config, bounds):
    """The textbook's: patients' means, Student's t."""
    means = values.reshape(len(set(patients)), -1).mean(axis=1)
    half = stats.t.ppf(0.5 + config.confidence / 2, len(means) - 1) * stats.sem(means)
    return means.mean() - half, means.mean() + half


def main() -> None:
    """Print the share of trials whose interval holds the true mean, and the mean width."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    print(
        f"{options.trials} trials, {options.resamples} resamples, 95 % intervals; "
        f"standard error of a share near 95 %: {np.sqrt(0.95 * 0.05 / options.trials):.2%}"
    )
    print(f"{'patients x cases':18}{'figures':12}{'studentised':>20}{'BCa':>20}{'Student t':>20}")
    for patients, cases in DESIGNS:
        names = [str(patient) for patient in range(patients) for _ in range(cases)]
        for name, (shape, mean, bounds) in SHAPES.items():
            random = np.random.default_rng(7)
            inside = {"studentised": [], "bca": [], "t": []}
            for trial in range(options.trials):
                values = draw(random, patients, cases, shape)
                for method in inside:
                    config = EvaluateConfig(
                        interval="bca" if method == "bca" else "studentised",
                        resamples=options.resamples,
                        seed=trial,
                    )
                    if method == "t":
                        low, high = t_interval(values, names, config, bounds)
                    else:
                        found = mean_interval(values, names, config, bounds=bounds)
                        low, high = found.low, found.high
                    inside[method].append((low <= mean <= high, high - low))
            told = [
                f"{np.mean([i for i, _ in got]):.1%} ({np.mean([w for _, w in got]):.3f})"
                for got in inside.values()
            ]
            print(
                f"{patients} x {cases:<13}{name:12}" + "".join(f"{text:>20}" for text in told),
                flush=True,
            )


if __name__ == "__main__":
    main()
