"""Movies: frame-exact reading and writing."""
