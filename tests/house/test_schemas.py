"""Every command with --json has a schema, every field of it is described, and docs/json.md says what the schemas say."""

import click
import jsonschema

from cli.main import gpujob
from tests import schemas


def test_every_command_with_json_has_a_schema():
    assert sorted(schemas.find_commands(gpujob)) == [*schemas.read_schemas()]
    assert len(schemas.read_schemas()) > 15


def test_a_command_with_json_and_without_a_schema_is_found():
    @click.group()
    def group() -> None:
        """Do things."""

    @group.command()
    @click.option("--json", is_flag=True)
    def listing(json: bool) -> None:
        """List things."""

    assert schemas.find_commands(group) == ["listing"]


def test_every_schema_is_valid_and_describes_each_field():
    for name, schema in schemas.read_schemas().items():
        jsonschema.Draft202012Validator.check_schema(schema)
        bare = [path for path, field in schemas.list_fields(schema) if path != "[]" and not field.get("description")]
        assert bare == [], name


def test_times_and_units_are_as_the_page_promises():
    for name, schema in schemas.read_schemas().items():
        for path, field in schemas.list_fields(schema):
            last = path.rpartition(".")[2]
            if last.endswith(("_at", "_until")):
                assert field.get("format") == "date-time", (name, path)


def test_the_page_says_what_the_schemas_say():
    assert schemas.PAGE.read_text() == schemas.write_page(), "run: make docs"
