"""Objectives, the trainer, and the main road from data to a run."""
