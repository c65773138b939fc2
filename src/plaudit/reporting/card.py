"""The model card: what the model was trained on, with which settings, and what it reached."""

from importlib.metadata import version
from typing import Any

from jinja2 import Environment

from plaudit.evaluation.metrics import label
from plaudit.evaluation.statistics import Figure
from plaudit.evaluation.summary import verdict
from plaudit.settings import Settings

SHOWN = (
    "pairwise_accuracy",
    "length_baseline",
    "accuracy_above_length",
    "log_loss",
    "top1_accuracy",
    "kendall_tau_b",
)

_TEMPLATE = """\
---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, plaudit, trl]
{%- if hub_base %}
base_model: {{ settings.base }}
{%- endif %}
---

# A reward model

It gives a completion of a prompt one number, the reward. Only differences for one prompt mean
something: σ(r_a − r_b) is the probability that a is preferred to b. Trained by
plaudit {{ version }} with the {{ settings.loss }} loss on rankings.

## What it reached

{% for name, part in parts.items() -%}
On {{ part.counts.prompts }} {{ name }} prompts, {{ "{:,}".format(part.counts.pairs) }} pairs
{%- if name == "validation" %} (they chose the checkpoint, which flatters the figures){% endif %}:

| | value | 95 % interval, bootstrap over prompts |
| --- | --- | --- |
{% for label, figure in figures(part) -%}
| {{ label }} | {{ "%.3f" | format(figure.value) }} | {{ figure.interval() }} |
{% endfor %}
{{ verdict(part) }}

{% endfor -%}
{% if not parts -%}
Nothing was held out, so nothing is known of its quality.
{% endif %}
## Data

{{ metrics.data.format }} data from {{ names | join(", ") }}, divided by prompt
{%- set n = metrics.data.rankings %}
{%- if n.train is not none %}: {{ n.train }} rankings to train on,
{{ n.validation }} to choose the checkpoint, {{ n.test }} to measure{% endif %}.

## Use

```python
from plaudit import RewardModel

RewardModel.load("this/folder").score("a prompt", ["a completion", "another"])
```

{% if metrics.model.pooling == "mean" -%}
Or `AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)`, whose own
small modelling file averages the tokens' scores;
{%- else -%}
Or `AutoModelForSequenceClassification.from_pretrained(folder)`, as any classifier with one label;
{%- endif %} rows have at most {{ encoding.max_length }} tokens, are padded on the right, and read:

```python
{% if encoding.kind == "encoder" -%}
tokenizer(prompt, completion)
{%- elif encoding.template == "chat" -%}
tokenizer.apply_chat_template([
    {"role": "user", "content": prompt}, {"role": "assistant", "content": completion},
])
{%- else -%}
tokenizer(prompt + {{ encoding.separator.__repr__() }} + completion
{%- if ending %} + tokenizer.eos_token{% endif %})
{%- endif %}
```

## Settings

```yaml
{{ yaml }}```
"""


def model_card(settings: Settings, metrics: dict[str, Any], encoding: Any) -> str:
    """The text of the saved model's `README.md`, from the run's settings and `metrics.json`."""
    import yaml

    sources = settings.data if isinstance(settings.data, list) else [settings.data]
    environment = Environment(autoescape=False, keep_trailing_newline=True)  # Markdown, not a page
    return environment.from_string(_TEMPLATE).render(
        settings=settings,
        version=version("plaudit"),
        hub_base="/" in settings.base and not settings.base.startswith((".", "/", "~")),
        metrics=metrics,
        parts={name: metrics[name] for name in ("test", "validation") if name in metrics},
        names=[source.rstrip("/").split("/")[-1] for source in sources],
        encoding=encoding,
        ending=encoding.tokenizer.eos_token_id not in (None, encoding.tokenizer.pad_token_id),
        yaml=yaml.safe_dump(settings.model_dump(), sort_keys=False, allow_unicode=True),
        figures=_figures,
        verdict=verdict,
    )


def _figures(part: dict[str, Any]) -> list[tuple[str, Figure]]:
    return [(label(name), Figure(**part[name])) for name in SHOWN]
