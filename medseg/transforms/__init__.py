"""From a scan to what a network sees and back: prepare, augment, restore; the home of MONAI."""
