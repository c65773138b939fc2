"""The model card: what the model was trained on, with which settings, and what it reached.

Its metadata, which the hub reads, have the figures too, as results of an evaluation.
"""

import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from plaudit.evaluation.measures import Measure, shown_in
from plaudit.evaluation.statistics import Figure
from plaudit.evaluation.summary import sentences
from plaudit.model.base_models import AT_REVISION
from plaudit.model.hub import usage
from plaudit.settings import Settings
from plaudit.sources import named, on_hub

_TEMPLATE = """\
---
{{ card_data }}
---

# A reward model

It gives a completion of a prompt one number, the reward. {{ metrics.training.rewards }}.
Trained by plaudit {{ version }} with the {{ settings.loss }} loss on rankings.

## What it reached

{% for name, part in parts.items() -%}
On {{ part.counts.prompts }} {{ name }} prompts, {{ "{:,}".format(part.counts.pairs) }} pairs
{%- if name == "validation" %} (they chose the checkpoint, which flatters the figures){% endif %}:

| | value | 95 % interval, bootstrap over prompts |
| --- | --- | --- |
{% for _, measure, figure in shown(part) -%}
| {{ measure.label }} | {{ "%.3f" | format(figure.value) }} | {{ figure.interval() }} |
{% endfor %}
{% if part.by_source -%}
| source | pairs | pairwise accuracy | 95 % interval | length-controlled |
| --- | --- | --- | --- | --- |
{% for source, of in part.by_source.items() -%}
| {{ source }} | {{ of.pairs }} | {{ of_source(of, "pairwise_accuracy") | join(" | ") }} |
{{- " " }}{{ of_source(of, "length_controlled_accuracy")[0] }} |
{% endfor %}
{% endif -%}
{{ sentences(part) | join(" ") }}

{% endfor -%}
{% if not parts -%}
Nothing was held out, so nothing is known of its quality.
{% endif %}
## Data

{{ metrics.data.format }} data from {{ names | join(", ") }}, divided by prompt
{%- set n = metrics.data.rankings %}
{%- if n.train is not none %}: {{ n.train }} rankings to train on,
{{ n.validation }} to choose the checkpoint, {{ n.test }} to measure{% endif %}.
{%- if metrics.data.sources %}

| source | share of an epoch | trained on | held out to measure | rejected |
| --- | --- | --- | --- | --- |
{% for name, source in metrics.data.sources.items() -%}
| {{ name }} | {{ "%.1f" | format(100 * source.share) }} % | {{ counted(source.train) }} |
{{- " " }}{{ source.test }} | {{ source.rejected.values() | sum }} |
{% endfor %}
{%- endif %}

{{ usage }}

## Settings

```yaml
{{ yaml }}
```
"""


def model_card(settings: Settings, metrics: dict[str, Any], encoding: Any) -> str:
    """The text of the saved model's `README.md`, from the run's settings and `metrics.json`."""
    sources = [settings.data] if isinstance(settings.data, str) else [*settings.data]
    names = [source.rstrip("/").split("/")[-1] for source in sources]
    parts = {name: metrics[name] for name in ("test", "validation") if name in metrics}
    on_hub = "/" in settings.base and not settings.base.startswith((".", "/", "~"))
    base = AT_REVISION.sub(r"\1", settings.base)
    results = [  # not those of validation prompts, which chose the checkpoint
        EvalResult(
            task_type="text-classification",
            **_dataset(sources),
            dataset_name=", ".join(names),
            dataset_split="test",
            metric_type=name,
            metric_name=measure.label,
            metric_value=figure.value,
        )
        for name, measure, figure in (_shown(parts["test"]) if "test" in parts else ())
    ]
    card_data = ModelCardData(
        base_model=base if on_hub else None,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["reward-model", "plaudit", "trl"],
        model_name="A reward model" if results else None,
        eval_results=results or None,
    )
    shown = _without_folders(settings.model_dump())
    card = ModelCard.from_template(
        card_data,
        template_str=_TEMPLATE,
        settings=settings,
        version=version("plaudit"),
        metrics=metrics,
        parts=parts,
        names=names,
        usage=usage(encoding, metrics["model"]["pooling"]),
        yaml=yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip(),
        shown=_shown,
        sentences=sentences,
        of_source=_of_source,
        counted=lambda count: "of a stream" if count is None else f"{count:,}",
    )
    return f"{card}\n"


def _dataset(sources: Sequence[str]) -> dict[str, Any]:
    """What the hub is told of the data: which of its data sets they are, where they are one.

    >>> _dataset(["owner/name@v1:subset"])
    {'dataset_type': 'owner/name', 'dataset_config': 'subset', 'dataset_revision': 'v1'}
    >>> _dataset(["a.csv", "b.csv"])
    {'dataset_type': 'preference data'}
    """
    found = named(sources[0]) if len(sources) == 1 else None
    if found is not None and on_hub(found.name) and not os.path.lexists(found.name):
        return {
            "dataset_type": found.name,
            "dataset_config": found.subset,
            "dataset_revision": found.revision,
        }
    return {"dataset_type": "preference data"}


def _without_folders(value: Any) -> Any:
    """A setting as a card shows it, which may be published: of a file its name, and not where it
    lies on somebody's machine.

    >>> _without_folders({"data": ["/home/me/a.csv:0.7", "b.csv"], "seed": 1})
    {'data': ['a.csv:0.7', 'b.csv'], 'seed': 1}
    """
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(each) for each in value]
    if isinstance(value, str) and value.startswith(("/", "~")):
        return value.rstrip("/").rpartition("/")[2]
    return value


def _of_source(entry: dict[str, Any], measure: str) -> tuple[str, str]:
    """A figure of a source and its interval, as the card has them."""
    if entry.get(measure) is None:
        return "–", ""
    figure = Figure(**entry[measure])
    return f"{figure.value:.3f}", figure.interval()


def _shown(part: dict[str, Any]) -> list[tuple[str, Measure, Figure]]:
    """What the card has of a part's figures."""
    every = shown_in("card").items()
    return [
        (name, each, Figure(**part[name])) for name, each in every if part.get(name) is not None
    ]
