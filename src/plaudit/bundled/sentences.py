"""Sentences that fit every kind of question: data, read by `sample.py`.

Their braces name the texts of a `Question`, such as its result or its topic.
"""

CURRENCIES = ("$", "€", "£")

NAMES = (
    "Amara", "Bo", "Chen", "Dalia", "Emeka", "Fatima", "Goran", "Hana", "Ines", "Jonas", "Kavya",
    "Luis", "Mei", "Nadia", "Omar", "Priya", "Quinn", "Rosa", "Sven", "Tomas", "Uma", "Yusuf",
)  # fmt: skip

# Around a question; most people come straight to the point.
BEFORE = (
    *[""] * 8, "Quick question. ", "Hi there! ", "I am going round in circles here. ",
    "Not homework, I promise. ", "My brother and I disagree about this. ",
)  # fmt: skip
AFTER = (
    *[""] * 8, " Thanks!", " Just want to be sure.", " I keep getting something else.",
    " I only need the figure.", " Rounded to two decimals is fine.",
)  # fmt: skip

# Around an answer, good or bad alike, so that none of them gives its quality away.
OPENINGS = (
    *[""] * 4, "We have {given}.", "Looking at {given}.", "This is about {topic}.",
    "Good question.", "Happy to help.",
)  # fmt: skip
ASIDES = (
    "Fees that are not mentioned could change the picture.",
    "It is worth checking the figures against the paperwork.",
    "Terms differ a little from one provider to the next.",
    "Keep a note of the figures you used.",
    "Do ask again if any of the figures change.",
    "I have taken the figures just as you gave them.",
    "A spreadsheet is a handy place to keep track of {topic}.",
    "If this is for something official, have someone look it over.",
)

RESULTS = ("It comes to {answer}.", "{formula} = {answer}.", "The answer is {answer}.")
ROUNDED = "The result is rounded where needed."

UNFINISHED = (
    "Put that into a calculator and you have it.",
    "From here it is one more step.",
    "The rest is arithmetic.",
    "That is the whole method.",
)
VAGUE = (
    "It should be in the usual range.",
    "Roughly what you would expect.",
    "With {given} it lands near where most people do.",
    "It depends on the details, but not by a lot.",
    "The figure is neither very high nor very low.",
    "Numbers like {given} tend to work out fine.",
    "More or less the ordinary amount.",
)
EVASIVE = (
    "That depends.",
    "I would rather not put a figure on it.",
    "I cannot give advice on {topic}.",
    "A qualified adviser is the right person to ask about {topic}.",
    "There are many ways to look at {given}, and I do not want to steer you.",
    "Before we talk about {given}, ask yourself what you want from your money.",
    "People hold very different views on {topic}.",
    "Everyone's situation is different, so I will leave {given} to you and your bank.",
    "Money is a personal matter, and what suits one household does not suit another.",
)
