"""PKU-SafeRLHF: a `prompt` with `response_0` and `response_1`.

`better_response_id` is the number of the more helpful one; `--columns
better_response_id=safer_response_id` takes the safer one instead. Whether each is safe, and how
severe its harm, are kept as attributes. Source: the card of PKU-Alignment/PKU-SafeRLHF.
"""

from plaudit.data.layouts import COMMON, Cells, Given, Layout, common
from plaudit.data.layouts._shapes import FIRST, SECOND, models, verdict, word

ATTRIBUTES = {"safe": "is_response_{}_safe", "severity_level": "response_{}_severity_level"}
SAFE = {"true": 1, "1": 1, "false": 0, "0": 0}


def give(cell: Cells) -> Given:
    """Response 0 first."""
    attributes = {name: [cell(f"{name}_{i}") for i in (0, 1)] for name in ATTRIBUTES}
    attributes["safe"] = [SAFE.get(word(value), value) for value in attributes["safe"]]
    model = models(cell("model_0"), cell("model_1"))
    return Given(
        prompt=cell("prompt"),
        completions=(cell("response_0"), cell("response_1")),
        names=("response_0", "response_1"),
        ranks=verdict(cell("better_response_id"), "better response", {"0": FIRST, "1": SECOND}),
        attributes=attributes,
        **common(cell) | ({"model": model} if model else {}),
    )


LAYOUT = Layout(
    texts={
        "prompt": ("prompt",),
        "response_0": ("response_0",),
        "response_1": ("response_1",),
    },
    order={"better_response_id": ("better_response_id",)},
    optional={
        **COMMON,
        **{f"{name}_{i}": (form.format(i),) for name, form in ATTRIBUTES.items() for i in (0, 1)},
        **{f"model_{i}": (f"response_{i}_source",) for i in (0, 1)},
    },
    give=give,
    row="pair",
    better="that of better_response_id, the more helpful",
)
