"""What happens to arrays on the way to a network and back?  Prepare, augment, resample, restore."""
