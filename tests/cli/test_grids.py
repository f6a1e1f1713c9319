"""The values of --grid, the files of --grid-file, and --array: what is meant becomes tasks, what is unclear is refused."""

import csv
import io
import json
import string
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.arrays.describing import describe_array
from cli.arrays.gridfiles import read_grid
from cli.arrays.grids import combine, list_names, parse_axis, variable_of
from cli.arrays.indices import parse_indices
from cli.arrays.placeholders import check_placeholders, check_shell
from infra.errors import UsageError
from infra.model import MOST_TASKS, Array, Task

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\0\"'()[]{},"), min_size=1, max_size=40)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,39}", fullmatch=True)


def values_of(text: str) -> list[str]:
    factor = parse_axis(text)
    return [value for row in factor.rows for value in row.values()]


def refusal(function, *given) -> UsageError:
    with pytest.raises(UsageError) as refused:
        function(*given)
    assert refused.value.hint
    return refused.value


@settings(max_examples=50)
@given(NAMES, st.lists(TEXTS, min_size=1, max_size=5, unique=True))
def test_quoted_values_come_back_as_they_are_whatever_they_contain(name, values):
    quoted = ",".join('"{}"'.format(value.replace('"', '""')) for value in values)
    factor = parse_axis(f"{name}={quoted}")
    assert (factor.title, [row[name] for row in factor.rows]) == (name, values)


@settings(max_examples=50)
@given(st.lists(PLAIN.map(str.strip).filter(bool), min_size=1, max_size=5, unique=True))
def test_plain_values_are_separated_by_commas_and_spaces_around_them_do_not_count(values):
    assert values_of("lr=" + " , ".join(values)) == values


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_any_text_is_a_grid_or_a_usage_error(text):
    try:
        factor = parse_axis(text)
    except UsageError:
        return
    assert all(factor.rows)
    assert text.startswith(factor.title) or text.lstrip().startswith(factor.title)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("lr=1e-3,1e-4", ["1e-3", "1e-4"]),
        ("filter=a=b,c==d", ["a=b", "c==d"]),
        ('layers="64,32",128', ["64,32", "128"]),
        ('layers="[64, 32]", "[128]"', ["[64, 32]", "[128]"]),
        ('word="say ""hi""",b', ['say "hi"', "b"]),
        ("name=größe,日本", ["größe", "日本"]),
        ("path=~/a b,/c", ["~/a b", "/c"]),
        ('tag="",x', ["", "x"]),
        ("weight-decay=0,0.1", ["0", "0.1"]),
        ("call=f(1),g(2)", ["f(1)", "g(2)"]),
        ("it=don''t,b", ["don''t", "b"]),
        ("n=-1,+1", ["-1", "+1"]),
    ],
)
def test_values_are_read_as_typed(text, values):
    assert values_of(text) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr", "is not NAME=VALUE"),
        ("", "is not NAME=VALUE"),
        ("=1", "'' is not a valid name"),
        ("1lr=1", "'1lr' is not a valid name"),
        ("l r=1", "'l r' is not a valid name"),
        ("größe=1", "is not a valid name"),
        ("a" * 41 + "=1", "is not a valid name"),
        ("lr=", "has an empty value"),
        ("lr=1,,2", "has an empty value"),
        ("lr=1,", "has an empty value"),
        ("lr=1,2,1", "has the value '1' twice"),
        ('lr="1', "a quote"),
        ('lr=1"2"', "a quote"),
        ('lr="1"2', "a quote"),
        ("lr=" + "9" * 1001, "1,001 characters"),
        ("lr=\udcff", "not UTF-8"),
        ("lr=a\0b", "not UTF-8"),
    ],
)
def test_what_is_unclear_or_no_argument_of_a_program_is_refused(text, said):
    assert said in refusal(parse_axis, text).what


def test_a_list_that_was_not_quoted_is_refused_with_what_to_type():
    refused = refusal(parse_axis, "layers=[64,32],[128]")
    assert "'[64' has brackets or quotes that are not closed" in refused.what
    assert """--grid 'layers="[64,32]","[128]"' ...""" in refused.hint
    assert values_of('layers="[64,32]","[128]"') == ["[64,32]", "[128]"]
    assert """--grid 'x="a,b","c"'""" in refusal(parse_axis, "x='a,b',c").hint


def test_the_last_name_changes_fastest_and_a_task_has_a_value_of_each():
    grid = combine([parse_axis("lr=1,2"), parse_axis("seed=0,1,2")])
    assert grid[:4] == [
        {"lr": "1", "seed": "0"},
        {"lr": "1", "seed": "1"},
        {"lr": "1", "seed": "2"},
        {"lr": "2", "seed": "0"},
    ]
    assert len(grid) == 6
    tasks = tuple(Task(at, values) for at, values in enumerate(grid))
    assert describe_array(Array(tasks)) == "6 tasks: lr (2) x seed (3)"
    assert describe_array(Array(tasks[:5], at_once=2)) == "5 tasks: lr, seed, at most 2 at a time"
    assert describe_array(Array((Task(7),))) == "1 task"


def test_more_combinations_than_an_array_can_have_are_refused_before_they_are_made():
    axes = [parse_axis(f"n{at}=" + ",".join(map(str, range(1000)))) for at in range(8)]
    refused = refusal(combine, axes)
    assert "1,000,000,000,000,000,000,000,000 combinations (n0 (1000) x n1 (1000)" in refused.what
    assert f"at most {MOST_TASKS:,} tasks" in refused.what
    assert len(combine([parse_axis("a=" + ",".join(map(str, range(MOST_TASKS))))])) == MOST_TASKS


def test_a_name_that_is_there_twice_also_as_a_variable_is_refused():
    assert "sets lr twice" in refusal(combine, [parse_axis("lr=1"), parse_axis("lr=2")]).what
    refused = refusal(combine, [parse_axis("opt.lr=1"), parse_axis("opt-lr=2")])
    assert "GPUJOB_GRID_OPT_LR" in refused.what
    assert variable_of("weight-decay") == "GPUJOB_GRID_WEIGHT_DECAY"


@pytest.mark.parametrize(
    ("text", "chosen", "at_once"),
    [
        ("0-3", (0, 1, 2, 3), None),
        ("1,3,7-9", (1, 3, 7, 8, 9), None),
        ("0-9:4", (0, 4, 8), None),
        ("5", (5,), None),
        ("0-2%8", (0, 1, 2), 8),
        ("3,1-3,1", (3, 1, 2), None),
        ("%2", (), 2),
        (" 0 - 1 ".replace(" - ", "-"), (0, 1), None),
    ],
)
def test_indices_are_read_as_slurm_reads_them(text, chosen, at_once):
    found = parse_indices(text)
    assert (found.chosen, found.at_once) == (chosen, at_once)


@pytest.mark.parametrize(
    "text", ["", "a", "1-", "-1", "3-1", "1,,2", "0-3:0", "0-3%0", "0-3%", "0-3%x", "1.5", "²", "0x1"]
)
def test_indices_that_are_none_are_refused(text):
    refusal(parse_indices, text)


def test_too_many_indices_are_refused_without_making_them():
    assert f"at most {MOST_TASKS:,}" in refusal(parse_indices, "0-999999999").what
    assert len(parse_indices(f"1-{MOST_TASKS}").chosen) == MOST_TASKS


def read(tmp_path: Path, name: str, content: str | bytes) -> list[dict[str, str]]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [dict(values) for values in combine(read_grid(path))]


@pytest.mark.parametrize(
    "content",
    [
        b"lr,seed\n0.1,0\n0.01,1\n",
        b"\xef\xbb\xbflr,seed\r\n0.1,0\r\n0.01,1\r\n",
        b"lr;seed\n0.1;0\n\n0.01;1",
        b"lr\tseed\n0.1\t0\n0.01\t1\n\n",
        b' lr , seed\n"0.1", 0\n0.01 ,1\n',
    ],
)
def test_each_row_of_a_csv_file_is_a_task_however_a_program_wrote_it(tmp_path, content):
    assert read(tmp_path, "sweep.csv", content) == [{"lr": "0.1", "seed": "0"}, {"lr": "0.01", "seed": "1"}]


@settings(max_examples=50)
@given(st.lists(st.tuples(TEXTS.map(str.strip), TEXTS.map(str.strip)), min_size=1, max_size=5, unique=True))
def test_what_a_csv_writer_wrote_comes_back(tmp_path_factory, rows):
    rows = [row for row in rows if any(row)] or [("a", "b")]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("x", "y"), *rows])
    found = read(tmp_path_factory.mktemp("csv"), "sweep.csv", stream.getvalue())
    assert found == [{"x": x, "y": y} for x, y in rows]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no tasks"),
        (b"lr,seed\n", "has no tasks"),
        (b"lr,seed\n1\n", "line 2 has 1 values for 2 names"),
        (b"lr,seed\n1,2\n\n1,2\n", "line 4 repeats line 2"),
        (b"lr,lr\n1,2\n", "sets lr twice"),
        (b"learning rate\n1\n", "'learning rate' is not a valid name"),
        (b"lr\n\xff\n", "is not UTF-8"),
        (b'lr\n"1\n', "line 2: unexpected end of data"),
        (b"lr,\n1,2\n", "'' is not a valid name"),
    ],
)
def test_a_csv_file_that_is_no_list_of_tasks_is_refused_with_its_line(tmp_path, content, said):
    assert said in refusal(read, tmp_path, "sweep.csv", content).what


def test_values_of_a_toml_file_are_as_written(tmp_path):
    content = """
    lr = [1e-3, 1e-4]
    layers = [[64, 32], [128]]
    amp = true
    name = ["größe, x"]
    """
    assert read(tmp_path, "sweep.toml", content) == [
        {"lr": lr, "layers": layers, "amp": "true", "name": "größe, x"}
        for lr in ("1e-3", "1e-4")
        for layers in ("[64, 32]", "[128]")
    ]


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b-c", "D"]),
        st.lists(st.integers() | st.booleans() | st.floats(), min_size=1, max_size=4),
        min_size=1,
    )
)
def test_numbers_of_a_toml_file_mean_the_same_afterwards(tmp_path_factory, axes):
    lines = [
        f"{name} = {json.dumps(values).replace('NaN', 'nan').replace('Infinity', 'inf')}"
        for name, values in axes.items()
    ]
    content = "\n".join(lines)
    meant = tomllib.loads(content, parse_float=str)
    try:
        found = read(tmp_path_factory.mktemp("toml"), "sweep.toml", content)
    except UsageError as refused:
        assert "twice" in refused.what
        return
    for name, values in meant.items():
        texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        assert list(dict.fromkeys(task[name] for task in found)) == texts


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("lr = ", "is not valid TOML"),
        ("", "sets no names"),
        ("lr = []", "has no values"),
        ("lr = [1, 1]", "has the value '1' twice"),
        ("[grid]\nlr = [1]", "[grid] is a table"),
        ("[[task]]\nlr = 1", "[task] is a table"),
        ('"l r" = 1', "'l r' is not a valid name"),
    ],
)
def test_a_toml_file_that_is_no_grid_is_refused(tmp_path, content, said):
    assert said in refusal(read, tmp_path, "sweep.toml", content).what


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "sweep.json").write_text("{}")
    assert "neither a .csv nor a .toml file" in refusal(read_grid, tmp_path / "sweep.json").what


def test_rows_of_a_file_are_combined_with_other_names(tmp_path):
    (tmp_path / "rows.csv").write_text("model,lr\nresnet,1\nvit,2\n")
    factors = [*read_grid(tmp_path / "rows.csv"), parse_axis("seed=0,1")]
    assert list_names(factors) == ["model", "lr", "seed"]
    assert [tuple(task.values()) for task in combine(factors)] == [
        ("resnet", "1", "0"), ("resnet", "1", "1"), ("vit", "2", "0"), ("vit", "2", "1")
    ]  # fmt: skip


def test_braces_of_a_script_stay_its_own():
    assert check_placeholders(["python", "t.py", '{"lr": 1}', "{epoch}-{}", "{lr}", "{0}"], ["lr"]) == ["epoch"]
    assert check_placeholders(["x", '{"lr": {lr}}', "${HOME} ${lr}", "{{lr}}"], ["lr"]) == []


@pytest.mark.parametrize("word", ["{Lr}", "{lrs}", "--x={lr_}"])
def test_a_mistyped_name_in_braces_is_refused(word):
    refused = refusal(check_placeholders, ["python", "t.py", word], ["lr", "seed"])
    assert "did you mean {lr}?" in refused.what


@settings(max_examples=50)
@given(st.text(string.printable, min_size=1, max_size=10))
def test_a_value_that_a_shell_would_read_stays_out_of_a_shell_command(value):
    command = ["bash", "-c", "python t.py --lr {lr} > log"]
    harmless = value.isalnum() or set(value) <= set(
        "0123456789abcdefghijklmnopqrstuvwxyz.-+_=:/@%,ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    )
    if harmless:
        check_shell(command, [{"lr": value}])
    else:
        assert '"$GPUJOB_GRID_LR"' in refusal(check_shell, command, [{"lr": value}]).hint
    check_shell(["python", "t.py", "{lr}"], [{"lr": value}])
    check_shell(["bash", "-c", 'python t.py "$GPUJOB_GRID_LR"'], [{"lr": value}])
