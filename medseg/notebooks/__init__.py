"""What scans and masks can do in a notebook beyond numbers: pictures, files, other libraries.

The methods of :class:`medseg.volume.Gridded` end here; each part is loaded when it is needed.
"""

from medseg.notebooks.files import save
from medseg.notebooks.libraries import LIBRARIES, of, tensor, to
from medseg.notebooks.views import html, plot

__all__ = ["LIBRARIES", "html", "of", "plot", "save", "tensor", "to"]
