"""The kinds of question about money that the sample asks: data, read by `sample.py`.

A `Kind` holds what is asked, how it is solved and which slips people make. Money is written with
its currency, to the cent unless it is whole; percentages and ratios have at most two decimals;
units and months that must be whole are rounded up.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# --- Numbers and how they are written ------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """A number of a question: drawn from `low` to `high` in steps of `step`, written as `unit`."""

    unit: str
    low: float
    high: float
    step: float

    def draw(self, rng: random.Random) -> float:
        """A value to compute with: 4.5% is 0.045."""
        steps = round((self.high - self.low) / self.step)
        value = round(self.low + self.step * rng.randint(0, steps), 4)
        return round(value / 100, 6) if self.unit == "percent" else value


def money(low: float, high: float, step: float) -> Number:
    """An amount in the currency of the question."""
    return Number("money", low, high, step)


def percent(low: float, high: float, step: float) -> Number:
    """A percentage: drawn as 4.5, computed with as 0.045, written as 4.5%."""
    return Number("percent", low, high, step)


def plain(low: float, high: float, step: float = 1) -> Number:
    """A number whose unit stands in the sentence."""
    return Number("plain", low, high, step)


def written(value: float, unit: str, currency: str) -> str:
    """A value as the texts show it.

    >>> written(1234.5, "money", "€"), written(0.045, "percent", "€"), written(1200, "units", "€")
    ('€1,234.50', '4.5%', '1,200 units')
    """
    cents = f"{value:,.2f}"
    match unit:
        case "money":
            return currency + cents.removesuffix(".00")
        case "francs":
            return "CHF " + cents.removesuffix(".00")
        case "percent":
            return f"{100 * value:,.2f}".rstrip("0").rstrip(".") + "%"
        case "plain":
            return cents.rstrip("0").rstrip(".")
        case _:
            return f"{value:,.0f} {unit}"


# --- The kinds of question -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of question, as texts with the names of its numbers in braces.

    Beside the numbers a text may name `half`, a value on the way to the result, and `answer`, the
    result; `ask` may also name a person. Numbers written alike (money, percent, plain) stand in the
    same order in every `ask`, so that a question can be read back without knowing its wording.
    """

    topic: str  # what the question is about, after "about"
    numbers: Mapping[str, Number]
    ask: Sequence[str]
    given: str  # the question's numbers in one phrase
    half: tuple[str, Callable[..., float]]  # unit and value
    answer: tuple[str, Callable[..., float]]  # unit and value
    formula: str
    steps: Sequence[str]  # the way there, in order, without the result
    says: Sequence[str]  # sentences that state the result
    slips: Sequence[Callable[..., float]]  # wrong values that people arrive at
    vague: Sequence[str]


KINDS: tuple[Kind, ...] = (
    Kind(
        topic="compound interest",
        numbers={"p": money(800, 60_000, 100), "r": percent(1.5, 9, 0.25), "n": plain(3, 20)},
        ask=(
            "If I leave {p} in an account paying {r} a year, compounded yearly, how much will be "
            "there after {n} years?",
            "{name} inherits {p} and locks it away at {r} compounded annually. What is it worth "
            "{n} years later?",
            "What does {p} grow to at {r} with annual compounding if nobody touches it for {n} "
            "years?",
            "Savings of {p}, {r} compounded once a year, {n} years. What is the final balance?",
        ),
        given="{p} at {r} for {n} years",
        half=("money", lambda p, r, n: p * (1 + r)),
        answer=("money", lambda p, r, n: p * (1 + r) ** n),
        formula="{p} × (1 + {r})^{n}",
        steps=(
            "Each year the whole balance is multiplied by 1 + {r}.",
            "After the first year there is {half} in the account.",
            "The same growth is then applied until {n} years have passed.",
        ),
        says=("The balance at the end is {answer}.", "After {n} years there will be {answer}."),
        slips=(
            lambda p, r, n: p * (1 + r) ** (n - 1),
            lambda p, r, n: p * (1 + r) ** (n + 1),
            lambda p, r, n: p * (1 + r * n),
            lambda p, r, n: p * ((1 + r) ** n - 1),
        ),
        vague=(
            "The balance will have grown quite nicely by then.",
            "{p} left alone for {n} years at {r} ends up noticeably larger.",
            "Compounding does a lot of the work over time.",
        ),
    ),
    Kind(
        topic="simple interest",
        numbers={"p": money(500, 30_000, 100), "r": percent(2, 9, 0.25), "n": plain(2, 9)},
        ask=(
            "I lent {name} {p} at {r} simple interest per year. How much interest do I get in "
            "total over {n} years?",
            "How much interest does {p} earn at {r} simple interest in {n} years?",
            "A family loan of {p} carries simple interest of {r} a year and runs {n} years. What "
            "is the interest altogether?",
            "Our club holds a note for {p} that pays {r} simple interest. What interest have we "
            "collected when it matures in {n} years?",
        ),
        given="{p} at {r} simple interest for {n} years",
        half=("money", lambda p, r, n: p * r),
        answer=("money", lambda p, r, n: p * r * n),
        formula="{p} × {r} × {n}",
        steps=(
            "Simple interest is always taken on the original {p}.",
            "One year at {r} brings {half}.",
            "That is the same in each of the {n} years, so multiply it by {n}.",
        ),
        says=("The interest adds up to {answer}.", "In total {answer} of interest is paid."),
        slips=(
            lambda p, r, n: p * ((1 + r) ** n - 1),
            lambda p, r, n: p * (1 + r * n),
            lambda p, r, n: p * r * (n + 1),
            lambda p, r, n: p * r * n / 10,
        ),
        vague=(
            "The interest will be a modest part of the loan.",
            "{r} on {p} is not a fortune, but over {n} years it does add up.",
            "You get a bit every year, and the bits add up.",
        ),
    ),
    Kind(
        topic="a loan payment",
        numbers={"p": money(6_000, 300_000, 1_000), "r": percent(2.4, 9, 0.3), "n": plain(3, 25)},
        ask=(
            "What would the monthly payment be on a {p} loan at {r} over {n} years, paid off in "
            "equal instalments?",
            "{name} wants to borrow {p} at {r} a year and repay it in equal monthly payments for "
            "{n} years. How big is each payment?",
            "The bank offers {p} at {r} fixed, term {n} years, level monthly payments. How much "
            "would leave my account each month?",
            "Mortgage of {p}, nominal rate {r}, {n} years, equal monthly payments. What is the "
            "payment?",
        ),
        given="a loan of {p} at {r} over {n} years",
        half=("payments", lambda p, r, n: 12 * n),
        answer=("money", lambda p, r, n: p * (r / 12) / (1 - (1 + r / 12) ** (-12 * n))),
        formula="{p} × ({r} ÷ 12) ÷ (1 − (1 + {r} ÷ 12)^(−12 × {n}))",
        steps=(
            "The monthly rate is {r} divided by 12, and there are {half} in all.",
            "The payment is the loan times the monthly rate, divided by one minus the discount "
            "factor for the last payment.",
        ),
        says=("Each monthly payment is {answer}.", "It takes {answer} a month."),
        slips=(
            lambda p, r, n: p / (12 * n),
            lambda p, r, n: p * (1 + r * n) / (12 * n),
            lambda p, r, n: p * (r / 12) / (1 - (1 + r / 12) ** (-12 * (n - 1))),
            lambda p, r, n: p * (1 + r) / (12 * n),
        ),
        vague=(
            "The payment should be manageable on an ordinary income.",
            "Spreading {p} over {n} years keeps each month fairly light, even at {r}.",
            "A longer term makes it lower and a higher rate makes it higher.",
        ),
    ),
    Kind(
        topic="the cost of borrowing",
        numbers={"p": money(11_000, 15_000, 50), "m": money(320, 385, 5), "n": plain(48, 60, 6)},
        ask=(
            "I am borrowing {p} for a car and pay {m} a month for {n} months. How much of what I "
            "pay is interest?",
            "Loan of {p}, instalments of {m}, {n} months. What does the borrowing itself cost in "
            "total?",
            "{name} financed a kitchen for {p} and pays back {m} every month, {n} months long. "
            "What is the finance charge over the whole time?",
            "They lend me {p} and want {m} monthly for {n} months. What do I pay on top of the "
            "loan?",
        ),
        given="{p} repaid with {m} a month for {n} months",
        half=("money", lambda p, m, n: m * n),
        answer=("money", lambda p, m, n: m * n - p),
        formula="{m} × {n} − {p}",
        steps=(
            "First add up what is paid: {n} instalments of {m}.",
            "All instalments together are {half}.",
            "Take away the {p} that was borrowed, and the rest is interest.",
        ),
        says=("Borrowing costs {answer} in total.", "The interest paid is {answer}."),
        slips=(
            lambda p, m, n: m * n,
            lambda p, m, n: m * (n - 12) - p,
            lambda p, m, n: m * (n + 12) - p,
        ),
        vague=(
            "A good part of each instalment is the lender's.",
            "Paying {m} for {n} months on {p} means that some of it is interest.",
            "Credit of this sort is rarely free.",
        ),
    ),
    Kind(
        topic="a price-earnings ratio",
        numbers={
            "price": money(18, 240, 1),
            "e": money(12, 90, 1),
            "s": plain(4, 40),
        },
        ask=(
            "A share trades at {price}. The company made {e} million last year and has {s} million "
            "shares. What is the P/E ratio?",
            "What P/E am I paying if the stock costs {price}, net profit is {e} million and there "
            "are {s} million shares outstanding?",
            "{name} looks at a firm quoted at {price} a share with earnings of {e} million and "
            "{s} million shares. What price-earnings ratio is that?",
            "Help me with a P/E please: price {price}, earnings {e} million, {s} million shares.",
        ),
        given="a price of {price}, earnings of {e} million and {s} million shares",
        half=("money", lambda price, e, s: e / s),
        answer=("plain", lambda price, e, s: price / (e / s)),
        formula="{price} ÷ ({e} ÷ {s})",
        steps=(
            "Start with the earnings per share: {e} million over {s} million shares.",
            "That is about {half} a share.",
            "Then divide the price of {price} by the earnings of one share.",
        ),
        says=("The P/E ratio is {answer}.", "The share costs {answer} times its earnings."),
        slips=(
            lambda price, e, s: price / e,
            lambda price, e, s: 100 * (e / s) / price,
            lambda price, e, s: price / (s / e),
        ),
        vague=(
            "The share looks neither cheap nor dear on that basis.",
            "At {price} with {e} million earned on {s} million shares the ratio is on the usual "
            "scale.",
            "It is in line with what one sees in the market.",
        ),
    ),
    Kind(
        topic="a dividend yield",
        numbers={"d": money(0.2, 1.5, 0.05), "price": money(24, 140, 1)},
        ask=(
            "My stock pays a dividend of {d} every quarter and costs {price}. What is the yield?",
            "What is the dividend yield on a share at quarterly dividends of {d} and a price of "
            "{price}?",
            "{name} gets {d} per share each quarter. At today's price of {price}, what yearly "
            "dividend yield is that?",
            "Quarterly dividend {d}, share price {price}. Annual dividend yield in percent?",
        ),
        given="a quarterly dividend of {d} and a price of {price}",
        half=("money", lambda d, price: 4 * d),
        answer=("percent", lambda d, price: 4 * d / price),
        formula="4 × {d} ÷ {price}",
        steps=(
            "The dividend is paid four times a year.",
            "So a share pays {half} in a year.",
            "Divide that by the price of {price} and turn it into a percentage.",
        ),
        says=("The yield is {answer}.", "The share yields {answer} a year."),
        slips=(
            lambda d, price: d / price,
            lambda d, price: 12 * d / price,
            lambda d, price: 2 * d / price,
            lambda d, price: 4 * d / price / 100,
        ),
        vague=(
            "The yield is decent for a share of this sort.",
            "{d} a quarter on a price of {price} is a fair return.",
            "It pays more than some savings accounts and less than others.",
        ),
    ),
    Kind(
        topic="dividends after tax",
        numbers={"d": money(0.4, 4, 0.1), "t": percent(10, 35, 1), "s": plain(40, 900, 10)},
        ask=(
            "I own {s} shares that pay {d} each. Dividends are taxed at {t} here. What do I keep?",
            "With {s} shares, a dividend of {d} per share and {t} withheld as tax on dividends, "
            "how much lands in my account?",
            "{name} receives a dividend of {d} on each of {s} shares and pays {t} tax on it. What "
            "is left after tax?",
            "What are the net dividends on {s} shares at {d} per share if {t} goes to the tax "
            "office?",
        ),
        given="{s} shares at {d} each, taxed at {t}",
        half=("money", lambda d, t, s: d * s),
        answer=("money", lambda d, t, s: d * s * (1 - t)),
        formula="{s} × {d} × (1 − {t})",
        steps=(
            "Before tax it is {s} shares times {d}.",
            "The gross dividend is {half}.",
            "Of that {t} goes in tax, so keep the remainder.",
        ),
        says=("After tax {answer} is left.", "The net dividend is {answer}."),
        slips=(
            lambda d, t, s: d * s,
            lambda d, t, s: d * s * t,
            lambda d, t, s: d * s * (1 + t),
            lambda d, t, s: d * s * (1 - t / 10),
        ),
        vague=(
            "Most of the dividend stays with the owner.",
            "{s} shares at {d} bring in something even when {t} is taken off.",
            "The tax takes a slice and the rest is yours.",
        ),
    ),
    Kind(
        topic="a profit margin",
        numbers={"cost": money(8, 60, 0.5), "price": money(64, 150, 1)},
        ask=(
            "A jacket costs our shop {cost} and we sell it for {price}. What is the gross margin?",
            "What gross margin do I make when I buy at {cost} and sell at {price}?",
            "{name} makes candles for {cost} a box and sells the box at {price}. What is the gross "
            "margin in percent?",
            "Unit cost {cost}, selling price {price}: gross margin?",
        ),
        given="a cost of {cost} and a price of {price}",
        half=("money", lambda cost, price: price - cost),
        answer=("percent", lambda cost, price: (price - cost) / price),
        formula="({price} − {cost}) ÷ {price}",
        steps=(
            "The profit on one sale is the price less the cost.",
            "Here that is {half}.",
            "A margin is measured against the price, so divide by {price}.",
        ),
        says=("The gross margin is {answer}.", "That is a margin of {answer}."),
        slips=(
            lambda cost, price: (price - cost) / cost,
            lambda cost, price: cost / price,
            lambda cost, price: (price - cost) / price / 100,
        ),
        vague=(
            "The margin is healthy for most shops.",
            "Between {cost} and {price} there is room for a good profit.",
            "Each sale leaves something once the goods are paid for.",
        ),
    ),
    Kind(
        topic="a price for a target margin",
        numbers={"cost": money(6, 180, 0.5), "m": percent(15, 60, 1)},
        ask=(
            "My product costs {cost} to make. What must I charge to keep a margin of {m} on the "
            "selling price?",
            "What selling price gives a {m} margin on an item that costs {cost}?",
            "{name} runs a bakery: a cake costs {cost} and the aim is that {m} of the selling "
            "price is profit. What should it sell for?",
            "Cost per unit is {cost} and my boss wants {m} of the selling price as margin. Which "
            "price do I print?",
        ),
        given="a cost of {cost} and a target margin of {m}",
        half=("percent", lambda cost, m: 1 - m),
        answer=("money", lambda cost, m: cost / (1 - m)),
        formula="{cost} ÷ (1 − {m})",
        steps=(
            "If {m} of the price is profit, the cost is the rest of the price.",
            "So {cost} has to be {half} of the price.",
            "Divide the cost by that share.",
        ),
        says=("The price has to be {answer}.", "Charge {answer}."),
        slips=(
            lambda cost, m: cost * (1 + m),
            lambda cost, m: cost / m,
            lambda cost, m: cost / (1 - m / 10),
            lambda cost, m: cost * (2 - m),
        ),
        vague=(
            "The price needs to be comfortably above the cost.",
            "For a {m} margin on {cost} you would add a decent amount.",
            "Pick something that customers accept and that still leaves a profit.",
        ),
    ),
    Kind(
        topic="a break-even point",
        numbers={
            "fixed": money(2_000, 48_000, 500),
            "price": money(19, 75, 1),
            "cost": money(3, 16, 0.5),
        },
        ask=(
            "Fixed costs are {fixed} a month, we sell at {price} and each piece costs us {cost}. "
            "How many must we sell to break even?",
            "How many units until I break even with {fixed} of fixed costs, a price of {price} "
            "and variable costs of {cost} a unit?",
            "{name} pays {fixed} for a market season, sells mugs at {price} and spends {cost} on "
            "each. Where is the break-even in units?",
            "Break-even please! Overheads {fixed}, price {price}, unit cost {cost}.",
        ),
        given="fixed costs of {fixed}, a price of {price} and a unit cost of {cost}",
        half=("money", lambda fixed, price, cost: price - cost),
        answer=("units", lambda fixed, price, cost: math.ceil(fixed / (price - cost))),
        formula="roundup({fixed} ÷ ({price} − {cost}))",
        steps=(
            "Every sale leaves the price less the unit cost to cover the fixed costs.",
            "That is {half} a unit.",
            "See how often it fits into {fixed}, and round up to a whole unit.",
        ),
        says=("Sales have to reach {answer}.", "The break-even point is {answer}."),
        slips=(
            lambda fixed, price, cost: math.ceil(fixed / price),
            lambda fixed, price, cost: math.ceil(fixed / cost),
            lambda fixed, price, cost: math.ceil(fixed / (price + cost)),
        ),
        vague=(
            "You need to sell a good number before it pays.",
            "At {price} against {cost} the {fixed} will be covered in the course of time.",
            "It is reachable with steady sales.",
        ),
    ),
    Kind(
        topic="changing money",
        numbers={
            "a": money(150, 6_000, 10),
            "f": percent(0.5, 4, 0.25),
            "x": plain(0.82, 1.16, 0.01),
        },
        ask=(
            "I change {a} into Swiss francs at a rate of {x} francs each, and the desk keeps {f} "
            "as a fee before converting. How many francs do I get?",
            "For a trip to Basel {name} exchanges {a}. The rate is {x} francs and the fee {f} of "
            "the amount, taken first. What is paid out in Swiss francs?",
            "What is {a} in Swiss francs at {x} when {f} commission comes off first?",
            "Sending {a} to Switzerland, transfer fee {f} up front, rate {x} Swiss francs. How "
            "much arrives?",
        ),
        given="{a} at a rate of {x} with a fee of {f}",
        half=("money", lambda a, f, x: a * (1 - f)),
        answer=("francs", lambda a, f, x: a * (1 - f) * x),
        formula="{a} × (1 − {f}) × {x}",
        steps=(
            "The fee of {f} is taken from the {a} first.",
            "This leaves {half} to convert.",
            "Multiply what is left by the rate of {x}.",
        ),
        says=("You receive {answer}.", "The amount paid out is {answer}."),
        slips=(
            lambda a, f, x: a * (1 + f) * x,
            lambda a, f, x: a * (1 - f) / x,
            lambda a, f, x: a * x,
            lambda a, f, x: a * (1 - 10 * f) * x,
        ),
        vague=(
            "You get a similar amount in francs, less the fee.",
            "With {a}, a rate of {x} and {f} off the top it is about what the board shows.",
            "Exchange desks always keep a little for themselves.",
        ),
    ),
    Kind(
        topic="a return on investment",
        numbers={"c": money(1_500, 9_500, 50), "v": money(9_800, 18_000, 50)},
        ask=(
            "I put {c} into a vending machine and got {v} out of it in the end. What was my ROI?",
            "What is the return on investment if the project cost {c} and brought in {v}?",
            "{name} bought an old van for {c}, fitted it out of spare parts and sold it for {v}. "
            "What return on the investment is that in percent?",
            "Spent {c} on advertising and it brought {v} of extra profit before that spending. "
            "ROI?",
        ),
        given="{c} spent and {v} received",
        half=("money", lambda c, v: v - c),
        answer=("percent", lambda c, v: (v - c) / c),
        formula="({v} − {c}) ÷ {c}",
        steps=(
            "The gain is what came back less what went in.",
            "So the gain is {half}.",
            "Compare it with the {c} that went in.",
        ),
        says=("The return is {answer}.", "The ROI works out at {answer}."),
        slips=(
            lambda c, v: (v - c) / v,
            lambda c, v: v / c,
            lambda c, v: (v - c) / c / 100,
        ),
        vague=(
            "That was a rewarding use of the money.",
            "Turning {c} into {v} is a good return by most standards.",
            "More came back than went in, which is what counts.",
        ),
    ),
    Kind(
        topic="a yearly growth rate",
        numbers={
            "a": money(2_000, 20_000, 100),
            "b": money(22_000, 48_000, 100),
            "n": plain(3, 14),
        },
        ask=(
            "My fund went from {a} to {b} in {n} years with no deposits. What yearly return is "
            "that, compounded?",
            "What is the compound annual growth rate from {a} to {b} over {n} years?",
            "{name}'s side business had sales of {a} at first and {b} after {n} years. What was "
            "the CAGR?",
            "{a} became {b} in {n} years. Average growth a year, compounded?",
        ),
        given="growth from {a} to {b} in {n} years",
        half=("plain", lambda a, b, n: b / a),
        answer=("percent", lambda a, b, n: (b / a) ** (1 / n) - 1),
        formula="({b} ÷ {a})^(1 ÷ {n}) − 1",
        steps=(
            "Divide the end value by the start value.",
            "It grew to about {half} times what it was.",
            "Take the root over {n} years and subtract one.",
        ),
        says=("The growth rate is {answer} a year.", "It grew by {answer} every year on average."),
        slips=(
            lambda a, b, n: (b / a - 1) / n,
            lambda a, b, n: (b / a) ** (1 / (n - 1)) - 1,
            lambda a, b, n: (b / a) ** (1 / (n + 1)) - 1,
            lambda a, b, n: b / a / n,
        ),
        vague=(
            "It grew at a solid pace throughout.",
            "From {a} to {b} in {n} years is respectable growth.",
            "Some years were surely better than others.",
        ),
    ),
    Kind(
        topic="straight-line depreciation",
        numbers={
            "c": money(9_000, 80_000, 500),
            "s": money(500, 6_000, 250),
            "life": plain(6, 12),
            "n": plain(2, 5),
        },
        ask=(
            "We bought a machine for {c}, expect to sell it for {s} and write it off straight-line "
            "over {life} years. What is its book value after {n} years?",
            "Book value question: cost {c}, salvage value {s}, straight-line over {life} years, "
            "now {n} years old.",
            "{name} depreciates a tractor that cost {c} to a residual {s} by the straight-line "
            "method in {life} years. What do the books say after {n}?",
            "Straight-line depreciation: what is left in the books of a {c} press (residual value "
            "{s}, useful life {life} years) at the end of year {n}?",
        ),
        given="a cost of {c}, a residual value of {s}, a life of {life} years and {n} years gone",
        half=("money", lambda c, s, life, n: (c - s) / life),
        answer=("money", lambda c, s, life, n: c - n * (c - s) / life),
        formula="{c} − {n} × ({c} − {s}) ÷ {life}",
        steps=(
            "What is written off is the cost less the residual value, evenly over {life} years.",
            "The charge is {half} a year.",
            "Take {n} such charges off the {c}.",
        ),
        says=("The book value is {answer}.", "It then stands in the books at {answer}."),
        slips=(
            lambda c, s, life, n: c - n * c / life,
            lambda c, s, life, n: n * (c - s) / life,
            lambda c, s, life, n: c - (n - 1) * (c - s) / life,
            lambda c, s, life, n: c - (n + 1) * (c - s) / life,
        ),
        vague=(
            "The books will show rather less than it cost.",
            "After {n} of {life} years, something between {c} and {s} is left.",
            "It loses the same amount every year until it is written off.",
        ),
    ),
    Kind(
        topic="a declining value",
        numbers={"c": money(8_000, 60_000, 500), "r": percent(8, 30, 1), "n": plain(3, 8)},
        ask=(
            "My new car cost {c} and loses {r} of its value every year. What is it worth in {n} "
            "years?",
            "What remains of {c} under declining-balance depreciation of {r} a year after {n} "
            "years?",
            "{name}'s camper was {c} new. If each year takes {r} off what it was worth the year "
            "before, what could it fetch after {n} years?",
            "Declining balance: {c}, {r} a year, {n} years. Remaining value?",
        ),
        given="{c} falling by {r} a year for {n} years",
        half=("money", lambda c, r, n: c * (1 - r)),
        answer=("money", lambda c, r, n: c * (1 - r) ** n),
        formula="{c} × (1 − {r})^{n}",
        steps=(
            "Every year 1 − {r} of the value remains.",
            "After one year it is down to {half}.",
            "Repeat that until {n} years are over.",
        ),
        says=("The value left is {answer}.", "By then it is worth {answer}."),
        slips=(
            lambda c, r, n: c * (1 - r * n),
            lambda c, r, n: c * (1 - r) ** (n - 1),
            lambda c, r, n: c * (1 - r) ** (n + 1),
            lambda c, r, n: c - c * (1 - r) ** n,
        ),
        vague=(
            "It will have lost a good deal of its value.",
            "Losing {r} of {c} year after year for {n} years leaves clearly less.",
            "The first years hurt most and it levels off later.",
        ),
    ),
    Kind(
        topic="inflation",
        numbers={"p": money(1_000, 80_000, 500), "i": percent(1.5, 7, 0.25), "n": plain(4, 25)},
        ask=(
            "If prices rise {i} a year, what is {p} in cash worth in today's money after {n} "
            "years?",
            "I am promised {p} in {n} years. With inflation at {i}, what is that in today's money?",
            "{name} keeps {p} under the mattress while inflation runs at {i}. What purchasing "
            "power, in today's money, is left in {n} years?",
            "Inflation {i}, sum {p}, {n} years from now. Real value today?",
        ),
        given="{p} and {i} inflation over {n} years",
        half=("percent", lambda p, i, n: (1 + i) ** n - 1),
        answer=("money", lambda p, i, n: p / (1 + i) ** n),
        formula="{p} ÷ (1 + {i})^{n}",
        steps=(
            "Prices go up by a factor of 1 + {i} each year.",
            "Over {n} years they rise by {half} altogether.",
            "Divide {p} by the rise in the price level to get back to today's money.",
        ),
        says=("In today's money it is {answer}.", "It will buy what {answer} buys now."),
        slips=(
            lambda p, i, n: p * (1 + i) ** n,
            lambda p, i, n: p * (1 - i * n),
            lambda p, i, n: p / (1 + i) ** (n - 1),
            lambda p, i, n: p / (1 + i * n),
        ),
        vague=(
            "It will buy less than it does now.",
            "With {i} inflation for {n} years, {p} does not go as far.",
            "Prices creep up and cash does not follow.",
        ),
    ),
    Kind(
        topic="portfolio weights",
        numbers={
            "a": money(4_000, 60_000, 500),
            "b": money(3_000, 40_000, 500),
            "c": money(1_000, 15_000, 500),
        },
        ask=(
            "I hold {a} in stocks, {b} in bonds and {c} in cash. What share of the portfolio is "
            "stocks?",
            "Portfolio: stocks {a}, bonds {b}, cash {c}. What is the weight of stocks?",
            "{name} has {a} of stocks next to {b} of bonds and a cash reserve of {c}. What "
            "percentage of the portfolio do the stocks make up?",
            "How heavy are stocks in a portfolio with {a} in them, {b} in bonds and {c} in money "
            "market funds?",
        ),
        given="{a} in stocks, {b} in bonds and {c} in cash",
        half=("money", lambda a, b, c: a + b + c),
        answer=("percent", lambda a, b, c: a / (a + b + c)),
        formula="{a} ÷ ({a} + {b} + {c})",
        steps=(
            "A weight is the holding divided by the whole portfolio.",
            "The whole portfolio is {half}.",
            "Divide the {a} in stocks by that.",
        ),
        says=("Stocks make up {answer}.", "The weight of stocks is {answer}."),
        slips=(
            lambda a, b, c: a / (a + b),
            lambda a, b, c: a / (b + c),
            lambda a, b, c: b / (a + b + c),
            lambda a, b, c: (a + c) / (a + b + c),
        ),
        vague=(
            "Stocks are an important part of the mix.",
            "With {a}, {b} and {c} the money is spread over several things.",
            "It looks like a mix that many people hold.",
        ),
    ),
    Kind(
        topic="income tax",
        numbers={
            "y": money(24_000, 98_000, 500),
            "f": money(6_000, 14_000, 250),
            "t": percent(12, 38, 1),
        },
        ask=(
            "I earn {y} a year. The first {f} is tax-free and the rest is taxed at a flat {t}. How "
            "much tax do I owe?",
            "What is the income tax on {y} with an allowance of {f} and a flat rate of {t}?",
            "{name}'s taxable pay is {y} before the {f} allowance, and everything above it is "
            "taxed at {t}. What does the tax come to?",
            "Salary {y}, personal allowance {f}, flat tax {t}. Tax for the year?",
        ),
        given="an income of {y}, {f} tax-free and a rate of {t}",
        half=("money", lambda y, f, t: y - f),
        answer=("money", lambda y, f, t: (y - f) * t),
        formula="({y} − {f}) × {t}",
        steps=(
            "Only the income above {f} is taxed.",
            "The taxable part is {half}.",
            "Apply the rate of {t} to it.",
        ),
        says=("The tax is {answer}.", "The bill for the year is {answer}."),
        slips=(
            lambda y, f, t: y * t,
            lambda y, f, t: y * t - f,
            lambda y, f, t: y - (y - f) * t,
            lambda y, f, t: (y + f) * t,
        ),
        vague=(
            "The tax will be a noticeable part of the income.",
            "On {y} with {f} free and {t} on the rest you pay a fair share.",
            "The allowance helps to keep it down.",
        ),
    ),
    Kind(
        topic="sales tax",
        numbers={"g": money(45, 2_400, 5), "v": percent(5, 25, 1)},
        ask=(
            "The receipt says {g} including {v} VAT. What was the price without the VAT?",
            "How much is the net price if the gross price with {v} VAT is {g}?",
            "{name} was billed {g}, VAT of {v} included. Which net amount goes in the books?",
            "Need to take {v} VAT out of {g}. What is the net?",
        ),
        given="{g} including {v} VAT",
        half=("percent", lambda g, v: 1 + v),
        answer=("money", lambda g, v: g / (1 + v)),
        formula="{g} ÷ (1 + {v})",
        steps=(
            "The {v} was added to the net price, not to the total.",
            "So {g} is {half} of the net price.",
            "Divide by that to undo it.",
        ),
        says=("The net price is {answer}.", "Without VAT it is {answer}."),
        slips=(
            lambda g, v: g * (1 - v),
            lambda g, v: g * (1 + v),
            lambda g, v: g / (1 + v / 10),
            lambda g, v: g * v,
        ),
        vague=(
            "The net price is somewhat lower than the receipt.",
            "A part of the {g} is the {v} VAT, and the rest is the price.",
            "The seller passes the tax on, so it is not theirs.",
        ),
    ),
    Kind(
        topic="a monthly budget",
        numbers={
            "y": money(2_800, 6_500, 50),
            "rent": money(700, 1_400, 25),
            "food": money(250, 600, 10),
            "other": money(200, 650, 10),
        },
        ask=(
            "I take home {y} a month. Rent is {rent}, food {food} and everything else {other}. "
            "What share of my pay can I save?",
            "Monthly budget: net pay {y}, rent {rent}, groceries {food}, other {other}. What is my "
            "savings rate?",
            "{name} earns {y} net a month and spends {rent} on rent, {food} on food and {other} on "
            "the rest. What percentage of the pay is left to save?",
            "Out of {y} net I pay {rent} rent, about {food} for food and {other} for bus, phone "
            "and fun. How much in percent can I save?",
        ),
        given="pay of {y} and spending of {rent}, {food} and {other}",
        half=("money", lambda y, rent, food, other: rent + food + other),
        answer=("percent", lambda y, rent, food, other: (y - rent - food - other) / y),
        formula="({y} − {rent} − {food} − {other}) ÷ {y}",
        steps=(
            "Add up the spending first.",
            "Rent, food and the rest come to {half}.",
            "Subtract that from {y} and divide the remainder by {y}.",
        ),
        says=("The savings rate is {answer}.", "That leaves {answer} of the pay."),
        slips=(
            lambda y, rent, food, other: (rent + food + other) / y,
            lambda y, rent, food, other: (y - rent - food) / y,
            lambda y, rent, food, other: (y - rent - other) / y,
            lambda y, rent, food, other: (y - rent - food - other) / (rent + food + other),
        ),
        vague=(
            "There is some room to save each month.",
            "With {rent}, {food} and {other} going out of {y}, a part of it stays.",
            "A little less spending goes a long way.",
        ),
    ),
    Kind(
        topic="a savings goal",
        numbers={
            "goal": money(4_000, 30_000, 250),
            "have": money(300, 3_500, 50),
            "m": money(90, 800, 10),
        },
        ask=(
            "I want {goal} for a deposit, have {have} already and put away {m} a month. How many "
            "months will it take, leaving interest aside?",
            "How many months to reach {goal} starting from {have} when I save {m} monthly?",
            "{name} dreams of a boat for {goal}, owns {have} and saves {m} per month. After how "
            "many months is the boat paid for?",
            "Goal {goal}, saved so far {have}, adding {m} each month. Months to go?",
        ),
        given="a goal of {goal}, {have} saved and {m} a month",
        half=("money", lambda goal, have, m: goal - have),
        answer=("months", lambda goal, have, m: math.ceil((goal - have) / m)),
        formula="roundup(({goal} − {have}) ÷ {m})",
        steps=(
            "First see what is missing: the goal less the {have} that is there.",
            "There is {half} to go.",
            "Divide it by {m} and round up to a full month.",
        ),
        says=("It takes {answer}.", "The goal is reached in {answer}."),
        slips=(
            lambda goal, have, m: math.ceil(goal / m),
            lambda goal, have, m: math.ceil((goal + have) / m),
            lambda goal, have, m: math.ceil((goal - have) / m) + 12,
        ),
        vague=(
            "It takes a while, but it is within reach.",
            "Putting {m} aside on top of {have} gets you to {goal} in good time.",
            "Saving regularly is what matters most.",
        ),
    ),
    Kind(
        topic="a bond's yield",
        numbers={
            "face": money(1_000, 1_000, 1),
            "price": money(700, 985, 5),
            "k": percent(2, 8, 0.25),
        },
        ask=(
            "A bond with a face value of {face} trades at {price} and has a {k} coupon. What is "
            "its current yield?",
            "Current yield of a bond: face value {face}, market price {price}, coupon {k}?",
            "{name} wants to buy a {face} bond for {price}. The coupon is {k} of face value. What "
            "current yield does that give?",
            "What current yield do I lock in if a {face} bond goes for {price} and its coupon "
            "rate is {k}?",
        ),
        given="a {face} bond at {price} with a {k} coupon",
        half=("money", lambda face, price, k: face * k),
        answer=("percent", lambda face, price, k: face * k / price),
        formula="{face} × {k} ÷ {price}",
        steps=(
            "The coupon is paid on the face value, whatever the bond trades at.",
            "So it pays {half} a year.",
            "Set that against the {price} it costs now.",
        ),
        says=("The current yield is {answer}.", "The bond yields {answer} at this price."),
        slips=(
            lambda face, price, k: k * price / face,
            lambda face, price, k: k + (face - price) / face,
            lambda face, price, k: face * k / price / 10,
            lambda face, price, k: (face * k + face - price) / price,
        ),
        vague=(
            "The yield is a bit different from the coupon.",
            "Paying {price} for {face} of face value makes the {k} coupon look better.",
            "Cheaper bonds yield more, all else being equal.",
        ),
    ),
    Kind(
        topic="a double discount",
        numbers={"p": money(60, 1_900, 5), "d": percent(10, 40, 5), "e": percent(5, 25, 1)},
        ask=(
            "A sofa listed at {p} is {d} off, and a voucher takes another {e} off the reduced "
            "price. What do I pay?",
            "What is the final price of a coat at {p} after {d} off and then {e} off at the till?",
            "{name} finds skis at {p}, reduced by {d}, and members get a further {e} off that. "
            "What do the skis cost a member?",
            "List price {p}, first {d} off, then {e} off what remains. Final price?",
        ),
        given="{p} with {d} and then {e} off",
        half=("money", lambda p, d, e: p * (1 - d)),
        answer=("money", lambda p, d, e: p * (1 - d) * (1 - e)),
        formula="{p} × (1 − {d}) × (1 − {e})",
        steps=(
            "Take the first discount of {d} off the list price.",
            "The reduced price is {half}.",
            "The second discount of {e} applies to that and not to {p}.",
        ),
        says=("The final price is {answer}.", "At the till it costs {answer}."),
        slips=(
            lambda p, d, e: p * (1 - d - e),
            lambda p, d, e: p * (1 - d) * (1 - e / 10),
            lambda p, d, e: p * (1 - (1 - d) * (1 - e)),
            lambda p, d, e: p * (1 - d) * (1 + e),
        ),
        vague=(
            "Both discounts together make it a good deal cheaper.",
            "Starting at {p}, {d} and another {e} off bring it down nicely.",
            "Shops like to stack offers because it looks like more.",
        ),
    ),
)
