"""Training: augmentation, losses, optimisers, the loop."""
