"""Lists of trials that somebody has written by hand, saved wrongly, or means ill with."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.sweep.encoding import encode
from resnet_sweep.sweep.explicit import read_trials

DEEP = 300_000
BOMB = "- &a0 {x: 1}\n" + "".join(
    f"- &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.trials") as refused:
        read_trials(path.name, path.parent)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("utf16.csv", "lr\n1\n".encode("utf-16"), "is no text in UTF-8 (byte 0); save it as UTF-8"),
        ("latin.csv", b"lr\n\xe9\n", "is no text in UTF-8 (byte 3)"),
        ("nul.csv", b"lr\nx\0\n", "has a NUL in it"),
        ("semicolons.csv", b"lr;seed\n0,1;2\n", "has ';' between its cells; save it with commas"),
        ("tabs.csv", b"lr\tseed\n1\t2\n", r"has '\t' between its cells"),
        ("open.csv", b'lr\n"1\n', "is no CSV file: unexpected end of data"),
        ("twice.csv", b"lr,lr\n1,2\n", "has the column lr twice"),
        ("dots.csv", b"a..b,.c,d.\n1,2,3\n", "(3 faults)"),
        ("digits.csv", b"[" + b"9" * 5000 + b"]\n1\n", "is no key of a configuration"),
        ("digits.yaml", b"- {seed: " + b"9" * 5000 + b"}\n", "cannot be read: Exceeds the limit"),
        ("many.yaml", b"- {seed: " + b"9" * 2000 + b"}\n", "has more than 1000 digits"),
        ("deep.yaml", b"- " * DEEP + b"1", "is nested in more than 200 levels"),
        ("flow.yaml", b"[" * DEEP + b"]" * DEEP, "is nested in more than 200 levels"),
        ("bomb.yaml", BOMB.encode(), "YAML node expansion exceeds"),
        ("itself.yaml", b"- &a [*a]\n", "recursive aliases are not supported"),
        ("python.yaml", b"- !!python/object/apply:os.system ['touch x']\n", "constructor"),
        ("bytes.yaml", b"- {a: !!binary aGVsbG8=}\n", "is of type bytes"),
        ("two.yaml", b"--- \n- {a: 1}\n---\n- {a: 2}\n", "expected a single document"),
        ("keys.yaml", b"- {1: 2, null: 3}\n", "Incompatible key type"),
        ("control.yaml", b"- {a: \0}\n", "control characters are not allowed"),
        ("lists.yaml", b"- [[{}]]\n- null\n- 5\n", "(3 faults)"),
        ("spaces.yaml", b"- {a b: 1}\n", "is no key of a configuration"),
    ],
)
def test_a_file_is_refused_with_what_is_wrong(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    told = refusal(tmp_path / name, content)
    assert said in told
    assert len(told.splitlines()) <= 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="is larger than 64 MiB"):
        read_trials(path.name, tmp_path)


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufefflr,note\r\n0.1,=1+1\r\n,@x\r\n".encode())
    assert read_trials("a.csv", tmp_path) == [{"lr": 0.1, "note": "=1+1"}, {"note": "@x"}]


def check_file(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    faults: list[Fault] = []
    try:
        for trial in read_trials(name, folder):
            for key, value in trial.items():
                assert encode(value, key)
    except ConfigError as error:
        faults = list(error.faults)
    assert all(fault.rule for fault in faults)


CELLS = st.text(alphabet="a1,;.\"'\n\r\t[]{}:#&*!|>-=+@${}~?% \0é", max_size=30)
BYTES = st.binary(max_size=60) | st.lists(CELLS, max_size=5).map(
    lambda cells: "\n".join(cells).encode()
)


def examples(number: int) -> settings:
    return settings(
        max_examples=number,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@examples(40)
@given(name=st.sampled_from(["t.csv", "t.yaml"]), content=BYTES)
def test_any_file_is_a_list_of_trials_or_told(tmp_path: Path, name: str, content: bytes) -> None:
    check_file(tmp_path, name, content)


@pytest.mark.slow
@examples(1500)
@given(name=st.sampled_from(["t.csv", "t.yaml"]), content=BYTES)
def test_many_files_are_lists_of_trials_or_told(tmp_path: Path, name: str, content: bytes) -> None:
    check_file(tmp_path, name, content)
