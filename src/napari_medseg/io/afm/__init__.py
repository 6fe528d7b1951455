"""Atomic force microscopy: one module for each vendor's format behind one reader."""
