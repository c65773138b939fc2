"""Numbers with intervals, and plots, from rewards and ranks."""
