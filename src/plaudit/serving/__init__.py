"""The HTTP service: a reward model behind the protocols that people's tools speak."""
