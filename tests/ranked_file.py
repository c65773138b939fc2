"""A small ranked file, for runs that are to learn something in a few steps."""

import csv

PROMPTS, ANSWERS = 40, 3


def write_ranked(path, dogs=3, more=()):
    """Write rankings in which the better answer says `fox` more often.

    `dogs` is how many numbers of a word without meaning there are; `more` are further rows.
    """
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "answer", "rank"])
        for number in range(PROMPTS):
            for rank in range(ANSWERS):
                text = "fox " * (ANSWERS - rank) + "dog " * (rank + number % dogs)
                writer.writerow([f"What is {number} plus {number}?", text, rank + 1])
        writer.writerows(more)
    return path
