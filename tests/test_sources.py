"""How sources are written: weights, subsets, splits, revisions, named sets."""

import pytest

from plaudit import PlauditError
from plaudit.settings import Settings
from plaudit.sources import Named, SourceError, data_of, named, sets_of


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a.csv", Named("a.csv")),
        ("a.csv:0.7", Named("a.csv", weight=0.7)),
        ("a.csv:1e-2", Named("a.csv", weight=0.01)),
        ("data/*.csv:2", Named("data/*.csv", weight=2.0)),
        (r"C:\a.csv", Named(r"C:\a.csv")),
        (r"C:\a.csv:.5", Named(r"C:\a.csv", weight=0.5)),
        ("C:/a.csv:.5", Named("C:/a.csv", weight=0.5)),
        ("odd:name.csv:.5", Named("odd:name.csv", weight=0.5)),
        ("owner/name", Named("owner/name")),
        ("hf://owner/name", Named("owner/name")),
        ("hf://datasets/owner/name:0.5", Named("owner/name", weight=0.5)),
        ("owner/name:chat", Named("owner/name", subset="chat")),
        ("owner/name:subset=2023:2", Named("owner/name", subset="2023", weight=2.0)),
        ("owner/name:split=test", Named("owner/name", split="test")),
        (
            "hf://owner/name@refs/convert/parquet:chat:split=test_prefs:0.3",
            Named("owner/name", "chat", "test_prefs", "refs/convert/parquet", 0.3),
        ),
        ("owner/name:split=train[:10%]:2", Named("owner/name", split="train[:10%]", weight=2.0)),
        ("parts/[0-9].csv:2", Named("parts/[0-9].csv", weight=2.0)),
        ("s3://bucket/a.csv", Named("s3://bucket/a.csv")),
        ("data/a@1.csv", Named("data/a@1.csv")),
        ("~/owner/name", Named("~/owner/name")),
    ],
)
def test_a_source_is_taken_apart(text, meant):
    assert named(text) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.csv:", "what stands after the colon is no weight; a weight is a number above 0"),
        ("a.csv:most", "'most' is no weight"),
        ("a.csv:70%", "'70%' is no weight"),
        ("a.csv:0", "its weight is 0; .* leave it out"),
        ("a.csv:-0.5", "its weight is -0.5"),
        ("a.csv:nan", "its weight is nan"),
        ("a.csv:inf", "its weight is inf"),
        ("owner/name:", "nothing stands after a colon"),
        ("owner/name:split=", "nothing stands after a colon"),
        ("owner/name:a:b", "names two subsets, 'a' and 'b'"),
        ("owner/name:0.5:chat", "names two subsets"),
        ("owner/name:2023:0.5", "names two weights; .* write subset=2023"),
    ],
)
def test_what_cannot_be_meant_says_what_to_write(text, said):
    with pytest.raises(SourceError, match=said):
        named(text)


def test_what_is_on_disk_is_that_whatever_its_name_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv:0.7").touch()
    (tmp_path / "b:c.csv").touch()
    (tmp_path / "mine").mkdir()
    assert named("a.csv:0.7") == Named("a.csv:0.7")
    assert named("a.csv:0.7:2") == Named("a.csv:0.7", weight=2.0)
    assert named("b:c.csv:2") == Named("b:c.csv", weight=2.0)
    assert named("mine:chat:2") == Named("mine", subset="chat", weight=2.0)


@pytest.mark.parametrize(
    "written",
    [
        ["a.csv:0.7", "owner/name:chat:0.3"],
        {"a.csv": 0.7, "owner/name:chat": 0.3},
        [{"a.csv": 0.7}, {"owner/name:chat": 0.3}],
        [("a.csv", 0.7), "owner/name:chat:0.3"],
    ],
)
def test_a_mixture_may_be_written_in_many_ways(written):
    assert data_of(written) == {"a.csv": 0.7, "owner/name:chat": 0.3}
    assert Settings.build(data=written).data == {"a.csv": 0.7, "owner/name:chat": 0.3}


def test_a_mixture_in_yaml(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(
        "data:\n- {path: a.csv, weight: 7}\n"
        "- {path: owner/name, subset: 1, split: test, revision: v2, weight: 3}\n"
    )
    data = Settings.build(file).data
    assert [*data.values()] == [7, 3]
    assert [named(name) for name in data] == [
        Named("a.csv"),
        Named("owner/name", "1", "test", "v2"),
    ]
    file.write_text("data: [a.csv: 0.7, b.jsonl: 0.3]\n")
    settings = Settings.build(file)
    assert settings.data == {"a.csv": 0.7, "b.jsonl": 0.3}
    settings.save(file)
    assert Settings.build(file) == settings
    file.write_text("data: [a.csv: 0.7, b.jsonl: lots]\n")
    with pytest.raises(PlauditError, match=r"settings\.yaml: data: b\.jsonl: its weight is 'lots'"):
        Settings.build(file)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["a.csv:0.7", "b.csv"], "b.csv has no weight, and a.csv has one"),
        ({"a.csv": None, "b.csv": 1}, "a.csv: its weight is nothing"),
        ({"a.csv": True}, "its weight is True"),
        ({"a.csv:0.5": 0.5}, "a second weight"),
        (["a.csv:0.5", "a.csv:0.5"], "a.csv is named twice"),
        ([{"path": "a.csv", "wieght": 1}], "there is no wieght; a source has path, subset"),
    ],
)
def test_a_mixture_that_is_none_is_refused(written, said):
    with pytest.raises(PlauditError, match=f"data: .*{said}"):
        Settings.build(data=written)


def test_repeating_needs_weights():
    with pytest.raises(PlauditError, match="mixture: repeat is for data with weights"):
        Settings.build(data=["a.csv", "b.csv"], mixture="repeat")


def test_sets_to_validate_on_have_names_or_none():
    assert sets_of("a.csv") == "a.csv"
    assert sets_of(["a.csv", "b.csv"]) == ["a.csv", "b.csv"]
    assert sets_of({"x": "a.csv"}) == sets_of("x=a.csv") == {"x": "a.csv"}
    assert sets_of("x=owner/name:split=test") == {"x": "owner/name:split=test"}
    assert sets_of("owner/name:split=test") == "owner/name:split=test"
    assert sets_of("runs/lr=0.1/a.csv") == "runs/lr=0.1/a.csv"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["x=a.csv", "b.csv"], "b.csv has no name"),
        (["x=a.csv", "x=b.csv"], "two sets are named x"),
        (["mean=a.csv"], "'mean' cannot be the name of a set"),
        (["x_controlled=a.csv"], "cannot be the name of a set"),
        ({"my set": "a.csv"}, "'my set' cannot be the name of a set"),
        (["x=a.csv:0.5"], "take no weight"),
        ({"x": 3}, "a set is a file"),
    ],
)
def test_sets_that_cannot_be_meant_are_refused(written, said):
    with pytest.raises(PlauditError, match=f"validation_data: .*{said}"):
        Settings.build(data="a", validation_data=written)


def test_a_set_that_chooses_is_one_of_them():
    sets = {"expert": "a.csv", "chat": "b.csv"}
    assert Settings.build(data="a", validation_data=sets, validation_set="chat").validation_set
    with pytest.raises(PlauditError, match="no set expart; the nearest is expert; there are"):
        Settings.build(data="a", validation_data=sets, validation_set="expart")
    with pytest.raises(PlauditError, match="validation_set: there is no set chat; there are none"):
        Settings.build(data="a", validation_data="b.csv", validation_set="chat")
