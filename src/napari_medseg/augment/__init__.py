"""Random changes of training samples (numpy and scipy only); every function takes its generator."""
