"""DICOM files and series, from their headers to voxels on a grid."""
