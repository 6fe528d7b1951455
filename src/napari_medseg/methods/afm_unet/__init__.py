"""Cells on glass under the atomic force microscope (10.1002/cyto.a.24533)."""
