"""Corrections of a whole image before anything else: levelling, orientation and resampling, stains."""
