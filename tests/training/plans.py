"""The plan that the tests of training run: a dozen steps of a tiny network."""

STEPS = 12
PLAN = {
    "cohort": "tiny.yaml",
    "patch": [16, 16, 16],
    "network": {"name": "unet", "options": {"features": [4, 8], "dropout": 0.1}},
    "augment": {"mirror_axes": [1]},
    "training": {
        "steps": STEPS,
        "warmup": 4,
        "learning_rate": 0.01,
        "ema": 0.9,
        "precision": "float32",
        "checkpoint_minutes": 1e-9,  # after every step
        "logger": "none",
    },
}
