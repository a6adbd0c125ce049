"""The formats of ITK: NRRD and MetaImage."""
