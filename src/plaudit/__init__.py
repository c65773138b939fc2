"""plaudit: from preference data to a reward model that people trust."""
