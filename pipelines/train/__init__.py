"""How a student learns: examples with token weights, losses, and the one training loop."""
