"""Settings: what is taken, what is refused and in which words, and the way to YAML and back."""

import math
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.settings import Settings, allowed, nearest, options_of
from plaudit.yaml_file import read_yaml


@pytest.fixture
def settings_file(tmp_path):
    def write(text):
        path = tmp_path / "settings.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_gives_settings_and_arguments_go_before_it(settings_file):
    config = settings_file("data: [a.csv, b.csv]\nlearning_rate: 5e-5\nmax-steps: 7\nseed: 3\n")
    settings = Settings.build(config, seed=4)
    assert settings.data == ["a.csv", "b.csv"]
    assert settings.learning_rate == 5e-5  # which YAML 1.1 reads as text
    assert (settings.max_steps, settings.seed) == (7, 4)
    assert settings.max_length is None


def test_null_is_a_value_where_nothing_is_one(settings_file):
    assert Settings.build(settings_file("data: a\nmax_length: null\n")).max_length is None
    assert Settings.build(settings_file("data: a\nmax_length: 9\n"), max_length=None) == (
        Settings.build(data="a")
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning-rat: 1", "there is no setting learning_rat; the nearest is learning_rate"),
        ("zzz: 1", "there is no setting zzz"),
        ("model: gpt2", "there is no setting model; the nearest is base"),
        ("epochs: 3", "there is no setting epochs; the nearest is num_train_epochs"),
        ("lr: 0.1", "there is no setting lr; the nearest is learning_rate"),
        ("max_steps: many", "max_steps: 'many' is not a whole number, -1 or more"),
        ("max_steps: 1.5", "max_steps: 1.5 is not a whole number, -1 or more"),
        ("seed: yes", "seed: True is not a whole number, 0 or more, below 4294967296"),
        ("seed: null", "seed: null is not a whole number, 0 or more, below 4294967296"),
        ("learning_rate: 0", "learning_rate: 0 is not a number, above 0"),
        ("learning_rate: .inf", "learning_rate: inf is not a number, above 0"),
        ("lora_dropout: .nan", "lora_dropout: nan is not a number, 0 or more, below 1"),
        ("strict: perhaps", "strict: 'perhaps' is not true or false"),
        ("pooling: max", "pooling: 'max' is not auto, cls, last, layers, mean or own-mean"),
        ("report_to: wandb", "report_to: 'wandb' is not a list of texts"),
        ("columns: {prompt: 3}", "columns: {'prompt': 3} is not pairs of texts"),
        ("data: []", "data: [] is not text, or a list of texts, 1 or more, or names with numbers"),
        ("max_length: 0", "max_length: 0 is not a whole number, 1 or more, or null"),
        ("base: 2024-01-01", "base: datetime.date(2024, 1, 1) is not text"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(settings_file, text, said):
    config = settings_file(text)
    with pytest.raises(PlauditError) as error:
        Settings.build(config, **({} if text.startswith("data") else {"data": "a"}))
    assert str(error.value) == f"{config}: {said}"


def test_every_wrong_setting_is_named_at_once(settings_file):
    with pytest.raises(PlauditError) as error:
        Settings.build(settings_file("seed: -1\nlosss: x\n"))
    for said in ("seed: -1 is not", "the nearest is loss", "data is needed"):
        assert said in str(error.value)


def test_a_wrong_argument_is_not_blamed_on_the_file(settings_file):
    config = settings_file("data: a\nseed: 3\n")
    with pytest.raises(PlauditError) as error:
        Settings.build(config, seed="x")
    assert str(error.value).startswith("seed: 'x' is not")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"max_steps": 0}, "max_steps: 0 trains nothing"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, said):
    with pytest.raises(PlauditError, match=re.escape(said)):
        Settings.build(data="a", **settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- data", ": write the settings as `name: value` lines; this is a list"),
        ("data", ": write the settings as `name: value` lines; this is a str"),
        ("data: a\nseed: 1\nseed: 2\n", ":3: not YAML: seed is set twice"),
        ("data: a\nmax-steps: 1\nmax_steps: 2\n", ": max_steps is set twice, with a dash"),
        ("data: a\ncolumns:\n  prompt: a\n  prompt: b\n", ":4: not YAML: prompt is set twice"),
        ("data: a\n\tseed: 1\n", ":2: not YAML: found character '\\t'"),
        ("data: [a\n", ":2: not YAML: expected ',' or ']'"),
        ("base: 2024-13-45\n", ": not YAML: month must be in 1..12"),
        ("data: \x00\n", ": not YAML: unacceptable character"),
        ("? [a]\n: b\n", ":1: not YAML: found unhashable key"),
        ("data: !!python/object/apply:os.getcwd []\n", ":1: not YAML: could not determine"),
        ("data: !!timestamp x\n", ": not YAML: 'NoneType' object"),
        ("data: !!int x\n", ": not YAML: invalid literal"),
        ("data: &a [*a]\n", ": not YAML: Circular reference"),
        ('data: "\\ud800"\n', ": not YAML: 'utf-8' codec can't encode"),
        ("data: " + "[" * 3000, ": not YAML: nested too deeply"),
    ],
)
def test_what_is_no_file_of_settings_is_told_with_its_line(settings_file, text, said):
    config = settings_file(text)
    with pytest.raises(PlauditError) as error:
        read_yaml(config)
    assert str(error.value).startswith(f"{config}{said}")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(PlauditError, match=r"none\.yaml: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(PlauditError, match="Is a directory"):
        read_yaml(tmp_path)
    (tmp_path / "latin1.yaml").write_bytes("data: café".encode("latin1"))
    with pytest.raises(PlauditError, match="not YAML: 'utf-8' codec"):
        read_yaml(tmp_path / "latin1.yaml")


def test_an_empty_file_sets_nothing(settings_file):
    assert read_yaml(settings_file("# only a comment\n")) == {}
    assert read_yaml(settings_file("\ufeffseed: 1\n")) == {"seed": 1}


def values_of(schema):
    """Values that a setting takes, drawn from what its JSON schema says."""
    if "anyOf" in schema:
        return st.one_of([values_of(kind) for kind in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    above, below = "exclusiveMinimum" in schema, schema.get("exclusiveMaximum")
    match schema["type"]:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "string":
            return text
        case "array":
            return st.lists(text, min_size=schema.get("minItems", 0), max_size=3)
        case "object":
            values = schema.get("additionalProperties", {"type": "string"})
            values = text | st.booleans() if values is True else values_of(values)
            return st.dictionaries(
                text, values, min_size=schema.get("minProperties", 0), max_size=3
            )
        case "integer":
            return st.integers(low, below - 1 if below else 10**6)
        case "number":
            top = below or high
            return st.floats(low, top, exclude_min=above, exclude_max=bool(below)).filter(
                math.isfinite
            )
    raise AssertionError(schema)


SCHEMA = Settings.model_json_schema()["properties"]


@given(st.fixed_dictionaries({}, optional={name: values_of(SCHEMA[name]) for name in SCHEMA}))
def test_every_setting_comes_back_from_the_file_it_is_saved_to(tmp_path_factory, values):
    try:
        settings = Settings.build(**{"data": "a", **values})
    except PlauditError as error:  # of values that are fine one by one
        expected = (
            "needs LoRA|not go with|only goes with|"
            "nothing to train on|trains nothing|no nuisance|needs a control|no metric|LoRA nothing|"
            "there is no set|name of a set|has no name|a set is a file|two sets|after a colon|"
            "weight"
        )
        assert re.search(expected, str(error))  # noqa: PT017
        return
    path = tmp_path_factory.mktemp("run") / "config.yaml"
    settings.save(path)
    assert Settings.build(path) == settings
    assert set(yaml.safe_load(path.read_text())) == set(Settings.model_fields)


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_described(name):
    assert Settings.model_fields[name].description
    assert "{" not in allowed(name)
    assert nearest(name[:-1] + "?") == name or nearest(name) == name


def test_flags_are_checked_one_by_one():
    options = {option.name: option for option in options_of(Settings)}

    def from_flag(name, text):
        return options[name].value(text)

    assert from_flag("learning_rate", "5e-5") == 5e-5
    assert from_flag("max_length", "null") is None
    assert from_flag("separator", "null") == "null"
    assert from_flag("test_fraction", "0.95") == 0.95  # what fits beside it is known later
    for name, text in (("max_steps", "1e3"), ("learning_rate", "nan"), ("loss", "wrong")):
        with pytest.raises(ValueError, match=re.escape(f"{text!r} is not {allowed(name)}")):
            from_flag(name, text)


def test_a_key_that_stands_twice_in_json_is_refused():
    said = "the key 'c' stands twice in one object"
    text = '{"a": 1, "b": {"c": 1, "c": 2}}'
    with pytest.raises(PlauditError, match=f"^chat_template_args: {said}$"):
        Settings.build(data="a", chat_template_args=text)
    [flag] = [option for option in options_of(Settings) if option.name == "chat_template_args"]
    with pytest.raises(ValueError, match=f"^{said}$"):
        flag.value(text)
    with pytest.raises(ValueError, match="is not a JSON object"):
        flag.value("[1")


def test_a_recipe_gives_way_to_what_is_given_and_goes_before_a_file(tmp_path):
    fast = Settings.build(data="x.csv", recipe="fast", num_train_epochs=3)
    assert (fast.freeze_layers, fast.num_train_epochs) == (-1, 3)
    best = Settings.build(data="x.csv", recipe="best")
    assert (
        best.per_device_train_batch_size < Settings.build(data="x.csv").per_device_train_batch_size
    )
    # A file that names every setting leaves a recipe that is asked for now its meaning.
    Settings.build(data="x.csv", seed=7).save(tmp_path / "all.yaml")
    again = Settings.build(tmp_path / "all.yaml", recipe="fast")
    assert (again.recipe, again.freeze_layers, again.seed) == ("fast", -1, 7)
    assert (again.learning_rate, again.num_train_epochs, again.save_steps) == (0.01, 10, 200)
    again.save(tmp_path / "fast.yaml")
    assert Settings.build(tmp_path / "fast.yaml", recipe="default") == Settings.build(
        data="x.csv", seed=7
    )
    # And one that stands in the file is what was saved with it.
    best.save(tmp_path / "best.yaml")
    assert Settings.build(tmp_path / "best.yaml") == best
    with pytest.raises(PlauditError, match="recipe"):
        Settings.build(data="x.csv", recipe="fastest")
