"""Arrays on the way to a network and back: prepare, augment, resample, restore."""
