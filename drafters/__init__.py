"""Drafters of our own: the target's answers are recorded, and a small EAGLE-3 head learns to foresee them."""
