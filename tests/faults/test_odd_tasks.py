"""Tasks that do what no task should: each costs its own trial and nothing else."""

import psutil
import pytest
from fault_sweeps import (
    ROOT,
    attempts_of,
    kinds,
    only_study,
    sweep,
    trials_of,
)

NAMED = "hydra.sweeper.study_name=named"
# What a task raises -> what the table says.
RAISED = {
    "base": "TaskExitError: the task raised what is no Exception: StubbornError: not to be stopped",
    "generator_exit": "TaskExitError: the task raised what is no Exception: GeneratorExit",
    "recursion": "RecursionError: maximum recursion depth exceeded",
    "unspeakable": "UnspeakableError: (its message cannot be had: ValueError)",
    "surrogates": r"RuntimeError: a lone \udc80 and \ud83d, nul \x00, bell \x07",
    "group": "ExceptionGroup: both (2 sub-exceptions)",
    "stop_iteration": "StopIteration",
    "no_words": "RuntimeError",
}
# What a task returns -> its objective, or what the table says.
RETURNED = {
    "numpy": 2.5,
    "decimal": 2.5,
    "a_bool": 1.0,
    "arrays": "returned array([2.5, 3.5]), which is no number",
    "endless": "returned count(0), which is no number",
    "a_dict": "returned {'accuracy': 1.0}, which is no number",
    "complex": "returned 1j, which is no number",
    "a_list": "returned [2.5], which is no number",
    "an_array": "returned array([[2.5]]), which is no number",
}


@pytest.mark.slow
def test_whatever_a_task_raises_costs_its_trial(tmp_path):
    done = sweep(tmp_path, f"do={','.join(RAISED)},enormous,remove_for_good,work")
    folder = only_study(tmp_path)
    assert done.process.returncode == 3, done.text
    assert kinds(folder) == [*["exception"] * 10, "COMPLETE"]
    found = [trial.user_attrs.get("error") for trial in trials_of(folder)]
    assert found[:8] == list(RAISED.values())
    assert len(found[8]) < 2100
    assert "No such file or directory" in found[9]
    assert (folder / "study.journal").stat().st_size < 300_000
    for error in RAISED.values():
        assert error in (folder / "results.csv").read_text()


@pytest.mark.slow
def test_whatever_a_task_returns_is_a_number_or_a_bad_value(tmp_path):
    done = sweep(tmp_path, f"do={','.join(RETURNED)},generator,huge,torch")
    folder = only_study(tmp_path)
    assert done.process.returncode == 3, done.text
    trials = trials_of(folder)
    said = [t.value if t.value is not None else t.user_attrs["error"] for t in trials]
    assert said[:9] == list(RETURNED.values())
    assert {t.user_attrs.get("failure") for t in trials if t.value is None} == {"bad_value"}
    assert "generator object" in said[9]
    # The number itself has 401 digits.
    assert len(said[10]) < 300
    assert said[11] == 2.5


@pytest.mark.slow
def test_several_objectives_from_an_iterator_without_an_end(tmp_path):
    directions = "hydra.sweeper.direction=[minimize,maximize]"
    done = sweep(tmp_path, directions, "do=generator,endless,arrays,a_dict")
    trials = trials_of(only_study(tmp_path))
    assert done.process.returncode == 3, done.text
    assert [trial.values for trial in trials] == [[1.0, 2.0], None, [2.5, 3.5], None]
    assert trials[1].user_attrs["error"] == "returned more than 2 values for 2 directions"


@pytest.mark.slow
def test_what_a_task_does_to_its_process_is_over_with_its_trial(tmp_path):
    """One worker: whatever a task has changed, those behind it find the process as it was."""
    one = ("hydra/launcher=local", "hydra.launcher.workers=1", NAMED)
    # Which closes all files of its process: output, locks, the connection to its parent.
    ways = "elsewhere,close_output,orphan,fork,log_much,close_all,exit_0,work"
    done = sweep(tmp_path, *one, f"do={ways}", "hydra.sweeper.retry.lost=0")
    folder = tmp_path / ROOT / "named"
    assert done.process.returncode == 3, done.text
    assert "Traceback" not in done.text
    ends = {
        ticket: [t.user_attrs.get("failure", t.state.name) for t in trials]
        for ticket, trials in attempts_of(folder).items()
    }
    assert ends.pop(6) == ["lost"]
    assert set(map(tuple, ends.values())) == {("COMPLETE",)}
    # Nothing that it has started is left; a copy of a worker held the worker's locks, too.
    assert not _processes_in(tmp_path)


def _processes_in(cwd) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            is_ours = process.cwd().startswith(str(cwd))
            is_at_work = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if is_ours and is_at_work:
            found.append(process)
    return found
