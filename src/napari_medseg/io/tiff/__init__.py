"""TIFF files: what they state beside their numbers (OME, ImageJ, tags), one module for each subject."""
