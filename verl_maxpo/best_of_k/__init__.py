"""The mathematics of the best of k, in PyTorch and numpy: estimates, advantages, baselines, objectives, groups."""
