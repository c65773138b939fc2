"""A model's folder on the hub, and the card that goes with it.

The card of a model that plaudit trained is the run's, with its figures. One that was only loaded
gets a short card: where it is from, what was done to it, how it is used, and that nothing was
measured.
"""

import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import HfApi, ModelCardData
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from plaudit.errors import PlauditError
from plaudit.files import writing
from plaudit.model.checkpoint import weighted
from plaudit.model.encoding import Encoding
from plaudit.model.poolings import POOLINGS
from plaudit.model.saving import layout_in_python

TAGS = ["reward-model", "plaudit"]
README = "README.md"


def push(
    save: Callable[[Path], None],
    card: str,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | None = None,
) -> str:
    """Upload what `save` writes into a folder, with its card; `RewardModel.push_to_hub` says how.

    Raises:
        PlauditError: where the hub refuses it, or is not to be reached.
    """
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        save(folder)
        with writing(folder / README) as file:
            file.write(card)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message or "A reward model",
            )
        except HfHubHTTPError as error:
            status = error.response.status_code
            advice = {
                401: "log in with `hf auth login`, or give a token that may write",
                403: "this account or token may not write there",
            }.get(status, f"the hub answered {status}")
            raise PlauditError(f"push: {repo_id}: {advice} ({_first_line(error)})") from error
        except (HFValidationError, OfflineModeIsEnabled, OSError) as error:
            raise PlauditError(f"push: {repo_id}: {_first_line(error)}") from error
    return str(commit.commit_url)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), repr(error))


def short_card(
    name: str,
    encoding: Encoding,
    pooling: str,
    attributes: Mapping[str, float] | None = None,
) -> str:
    """The text of the card of a model that was loaded from `name`, and not trained by plaudit.

    Of what is on this disk it says the last part of the path: the card is for everybody to read.
    """
    if Path(name).is_absolute() or Path(name).exists():
        name = Path(name).resolve().name
    made = (
        f" Its head had several labels: the reward is {weighted(attributes)}." if attributes else ""
    )
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=TAGS,
    )
    return f"""\
---
{data.to_yaml()}
---

# A reward model

It gives a completion of a prompt one number, the reward. Loaded from {name} and saved by plaudit
{version("plaudit")}.{made} Nothing was measured on the way, so this card says nothing of its
quality.

{usage(encoding, pooling)}
"""


def usage(encoding: Encoding, pooling: str) -> str:
    """The part of a card that says how the model is used, with plaudit and without."""
    if POOLINGS.get(pooling).network is not None:
        other = (
            "Or `AutoModelForSequenceClassification.from_pretrained(folder, "
            "trust_remote_code=True)`: its class lies\nin the folder, and without that argument "
            "transformers draws weights at random and only warns;"
        )
    else:
        other = (
            "Or `AutoModelForSequenceClassification.from_pretrained(folder)`, as any classifier "
            "with one label;"
        )
    return f"""\
## Use

```python
from plaudit import RewardModel

RewardModel.load("this/folder").score("a prompt", ["a completion", "another"])
```

{other} rows have at most {encoding.max_length} tokens, are padded on the right, and read:

```python
{layout_in_python(encoding)}
```"""
