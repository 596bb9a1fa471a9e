"""Style-based generators: StyleGAN2, its S space, encoders, identity, mappers, relevance of channels."""
