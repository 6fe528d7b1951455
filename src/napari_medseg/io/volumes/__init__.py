"""Volumes: NIfTI, NRRD, MetaImage and DICOM series."""
