import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState
from studies import StudyOnDisk, study_of_every_kind

from resnet_sweep.faults import ConfigError
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.reading import Snapshot, holds_study, open_study, read_study


@pytest.fixture
def every_kind(tmp_path: Path) -> Iterator[StudyOnDisk]:
    made = study_of_every_kind(tmp_path)
    yield made
    made.close()


def states(snapshot: Snapshot) -> list[str]:
    return [ticket.state for ticket in snapshot.tickets]


def test_every_ticket_has_one_state_that_of_its_last_attempt(every_kind):
    snapshot = read_study(every_kind.path)
    assert states(snapshot) == [
        "COMPLETE",
        "PRUNED",
        "FAIL",
        "RUNNING",
        "WAITING",
        "WAITING",
        "WAITING",
        "COMPLETE",
        "WAITING",
        "WAITING",
    ]
    assert snapshot.counts == {"COMPLETE": 2, "PRUNED": 1, "FAIL": 1, "RUNNING": 1, "WAITING": 5}
    assert (snapshot.num_done, snapshot.total) == (4, 10)
    assert [len(ticket.attempts) for ticket in snapshot.tickets] == [1, 1, 1, 2, 1, 0, 1, 1, 0, 0]


def test_what_is_to_be_taken_up_again_waits_and_has_a_reason(every_kind):
    tickets = read_study(every_kind.path).tickets
    assert tickets[2].reason == "non_finite: NonFinite: the loss is nan"
    assert tickets[3].reason == ""
    assert tickets[4].reason == "interrupted: stopped"
    assert tickets[4].last is not None
    assert tickets[6].reason == "lost: its worker is gone"


def test_a_ticket_has_its_planned_values_until_they_are_drawn(every_kind):
    tickets = read_study(every_kind.path).tickets
    assert tickets[5].values == {"lr": 0.1 / 10**2, "model": "plain"}
    assert tickets[6].values == {"lr": 0.25, "model": "res"}
    assert tickets[8].values == {}


def test_running_trials_tell_their_newest_report(every_kind):
    (ticket,) = read_study(every_kind.path).running
    assert ticket.ticket == 3
    assert ticket.newest == (2, 0.6)
    assert ticket.last.user_attrs["slot"] == "gpu1"


def test_the_first_of_equals_is_best(every_kind):
    (best,) = read_study(every_kind.path).best
    assert best.ticket == 0


def test_time_left_is_the_mean_of_what_ended_over_the_living_workers(tmp_path):
    made = StudyOnDisk(tmp_path, n_trials=6)
    assert read_study(tmp_path).left_s is None
    made.add(0, {}, values=0.1, seconds=30.0)
    made.add(1, {}, "PRUNED", seconds=10.0)
    # Neither says how long a trial takes.
    made.add(2, {}, "FAIL", seconds=1000.0)
    made.add(3, {}, values=0.1, seconds=0.0, duplicate_of=0)
    assert read_study(tmp_path).left_s is None
    made.worker_lives("s-0")
    assert read_study(tmp_path).left_s == 40.0
    made.worker_lives("s-1")
    assert read_study(tmp_path).left_s == 20.0
    # A third has nothing to do.
    made.worker_lives("s-2")
    assert read_study(tmp_path).left_s == 20.0
    # Started long ago, so it has all of its time behind it.
    made.begin(4, {}, worker="s-0")
    assert read_study(tmp_path).left_s == 10.0
    made.close()


def test_lost_workers_are_retried_as_often_as_the_study_says(tmp_path):
    made = StudyOnDisk(tmp_path, [{}], attrs={"retry": {"lost": 1, "exception": 1}})
    made.add(0, {}, "FAIL", failure="lost", error="x")
    assert states(read_study(tmp_path)) == ["WAITING"]
    made.add(0, {}, "FAIL", attempt=1, failure="exception", error="x")
    assert states(read_study(tmp_path)) == ["WAITING"]
    made.begin(0, {}, attempt=2, worker="dead")
    snapshot = read_study(tmp_path)
    assert states(snapshot) == ["FAIL"]
    assert snapshot.tickets[0].reason.startswith("lost")


def test_what_a_closed_slot_has_spoilt_waits_for_another(tmp_path):
    made = StudyOnDisk(tmp_path, [{}, {}], attrs={"burnt": [0]})
    made.add(0, {}, "FAIL", failure="exception", error="x")
    made.add(1, {}, "FAIL", failure="exception", error="x")
    assert states(read_study(tmp_path)) == ["WAITING", "FAIL"]


def test_what_is_never_retried_has_failed(tmp_path):
    made = StudyOnDisk(tmp_path, [{}], attrs={"retry": {}})
    made.add(0, {}, "FAIL", failure="lost", error="x")
    assert states(read_study(tmp_path)) == ["FAIL"]


def test_nothing_is_left_of_a_space_that_is_used_up(tmp_path):
    made = StudyOnDisk(tmp_path, [{}], n_trials=20, attrs={"used_up": True})
    made.add(1, {"x": 1}, values=0.5)
    assert states(read_study(tmp_path)) == ["WAITING", "COMPLETE"]


def test_an_attempt_that_is_queued_again_shows_the_one_before(tmp_path):
    made = StudyOnDisk(tmp_path, [{"x": 0.5}])
    made.add(0, {"x": 0.5}, "FAIL", failure="lost", error="lost: gone")
    made.begin(0, {"x": 0.5}, attempt=1, worker=None, state=TrialState.WAITING)
    (ticket,) = read_study(tmp_path).tickets
    assert (ticket.state, ticket.last.number, ticket.reason) == ("WAITING", 0, "lost: gone")


def test_a_queued_ticket_has_not_begun(tmp_path):
    made = StudyOnDisk(tmp_path, [{"x": 0.5}])
    made.begin(0, {}, worker=None, state=TrialState.WAITING)
    (ticket,) = read_study(tmp_path).tickets
    assert (ticket.state, ticket.last, ticket.values) == ("WAITING", None, {"x": 0.5})


def test_a_study_without_a_trial(tmp_path):
    made = StudyOnDisk(tmp_path, n_trials=3)
    snapshot = read_study(made.path)
    assert (snapshot.total, snapshot.num_done, snapshot.best, snapshot.running) == (3, 0, (), ())
    assert snapshot.maximize == (True,)
    assert not snapshot.is_active


def test_trials_that_are_no_tickets_come_last_once_they_have_ended(tmp_path):
    made = StudyOnDisk(tmp_path, [{}])
    made.study.enqueue_trial({"x": 1})
    made.study.add_trial(optuna.create_trial(value=0.9))
    snapshot = read_study(tmp_path)
    assert [ticket.ticket for ticket in snapshot.tickets] == [0, -2]
    assert snapshot.best[0].last.number == 1


@pytest.mark.parametrize(("direction", "best"), [("maximize", 2), ("minimize", 1)])
def test_best_knows_the_direction(tmp_path, direction, best):
    made = StudyOnDisk(tmp_path, [{}] * 4, directions=[direction])
    for ticket, value in enumerate([0.5, 0.1, 0.9]):
        made.add(ticket, {}, values=value)
    made.add(3, {}, "PRUNED", [-5.0 if direction == "minimize" else 5.0])
    assert [ticket.ticket for ticket in read_study(tmp_path).best] == [best]


def test_several_objectives_have_the_front_that_optuna_finds(tmp_path):
    made = StudyOnDisk(tmp_path, [{}] * 6, directions=["maximize", "minimize"])
    values = [(0.5, 3.0), (0.9, 5.0), (0.4, 3.0), (0.5, 2.0), (0.5, 2.0), (0.9, 6.0)]
    for ticket, pair in enumerate(values):
        made.add(ticket, {}, values=pair)
    numbers = sorted(ticket.last.number for ticket in read_study(tmp_path).best)
    assert numbers == sorted(trial.number for trial in made.study.best_trials) == [1, 3, 4]


def test_drawn_trials_side_by_side_are_noticed_planned_ones_are_not(tmp_path):
    made = StudyOnDisk(tmp_path, [{}, {}], n_trials=4)
    for ticket, worker in enumerate(["s-0", "s-1"]):
        made.begin(ticket, {}, worker=worker)
    assert not read_study(tmp_path).is_order_dependent
    made.begin(2, {}, worker="s-0")
    assert not read_study(tmp_path).is_order_dependent
    made.begin(3, {}, worker="s-1")
    assert read_study(tmp_path).is_order_dependent


def test_a_database_is_read_as_well(tmp_path):
    url = f"sqlite:///{tmp_path}/my studies.db"
    made = StudyOnDisk(tmp_path / "sweep", [{"x": 0.5}], storage=url)
    made.add(0, {"x": 0.5}, values=0.7)
    made.close()
    assert states(read_study(made.path)) == ["COMPLETE"]


@pytest.mark.parametrize("damage", ["folder", "yaml", "name", "journal", "database", "study"])
def test_what_a_folder_lacks_is_told_and_nothing_is_made(tmp_path, damage):
    folder = StudyFolder(tmp_path / "sweep")
    database = f"sqlite:///{tmp_path}/no.db"
    message = {
        "folder": "it is not a folder",
        "yaml": r"it has no multirun\.yaml",
        "name": r"its multirun\.yaml names none",
        "journal": r"study\.journal is missing",
        "database": r"no\.db is missing",
        "study": "its storage has none of the name other",
    }[damage]
    if damage == "study":
        StudyOnDisk(folder.path).close()
    if damage != "folder":
        folder.path.mkdir(exist_ok=True)
    if damage not in ("folder", "yaml"):
        sweeper = {
            "study_name": None if damage == "name" else "other",
            "storage": database if damage == "database" else None,
        }
        OmegaConf.save({"hydra": {"sweeper": sweeper}}, folder.multirun_yaml)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=f"sweep: holds no study: .*{message}.*outputs/<study>"):
        open_study(folder.path)
    assert sorted(tmp_path.rglob("*")) == before
    assert holds_study(folder.path) == (damage not in ("folder", "yaml", "name"))


def test_a_study_in_memory_is_known_to_its_own_process_only(tmp_path):
    made = StudyOnDisk(tmp_path, [{}], storage="memory")
    assert states(read_study(tmp_path)) == ["WAITING"]
    made.add(0, {}, values=0.5)
    assert states(read_study(tmp_path)) == ["COMPLETE"]
    script = "import sys, pathlib, resnet_sweep.study.reading as r; "
    script += "r.read_study(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True
    )
    assert "it was kept in the memory of its sweep" in done.stderr


def test_reading_changes_nothing(every_kind):
    before = {
        path: path.read_bytes() for path in sorted(every_kind.path.rglob("*")) if path.is_file()
    }
    read_study(every_kind.path)
    after = {
        path: path.read_bytes() for path in sorted(every_kind.path.rglob("*")) if path.is_file()
    }
    assert after == before


def test_importing_it_loads_nothing_heavy():
    script = "import sys, resnet_sweep.study.reading; "
    script += (
        "print([name for name in ('optuna', 'numpy', 'pandas', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
