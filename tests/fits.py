"""Whether a result is as its published schema says."""

from pydantic import TypeAdapter

from plaudit.results import SCHEMAS


def assert_fits(name, value):
    """Nothing is missing, nothing is unsaid; also as versions before wrote it."""
    assert value["schema_version"] == 1
    record = TypeAdapter(SCHEMAS[name])
    assert record.validate_python(value, strict=True) == value
    record.validate_python({k: v for k, v in value.items() if k != "schema_version"})
