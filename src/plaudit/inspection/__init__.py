"""What is in preference data, and what is wrong with it."""
