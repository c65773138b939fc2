"""Completions from a policy: sampled, scored, compared, the best of them kept."""
