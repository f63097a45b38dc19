"""What is fitted after training, on images that no weight has seen: temperatures, gain maps, the price path.

Everything here is plain numpy on logits; nothing needs torch.
"""
