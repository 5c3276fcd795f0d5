"""Preprocessed clips as arrays, training windows, augmentation, file lists. Knows nothing of networks' training."""
