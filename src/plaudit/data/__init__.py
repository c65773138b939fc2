"""Read, check, split: from files to rankings."""
