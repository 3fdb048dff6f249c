"""Losses, one file a kind of target: masks and image labels in `segmentation`, frames in `forecasting`."""
