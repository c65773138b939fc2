"""What is to be labelled, and what is written of it."""
