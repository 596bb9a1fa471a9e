"""Latent diffusion: the model, its schedules, attention under a control, inversions, tuning."""
