"""Object against background as a minimum of an energy: graph cuts on grids, coarse to fine, without torch."""
