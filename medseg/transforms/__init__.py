"""From a scan to what a network sees and back: prepare, augment, restore; the home of MONAI."""

import logging

# MONAI warns about every optional decoder it does not find; medseg's readers do not use them.
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
