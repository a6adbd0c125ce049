"""NIfTI 1 and 2, plain, gzip or a pair of files."""
