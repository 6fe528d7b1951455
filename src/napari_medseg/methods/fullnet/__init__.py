"""Nuclei and glands in H&E images (10.1007/978-3-030-32239-7_42)."""
