"""Event files as TensorBoard's own HParams view reads them."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, Command, only_sweep

from resnet_sweep.training.tensorboard import Label, TensorBoardEvents


def hparams_view(folder: Path) -> dict[str, Any]:
    """The lines of the view, by name: hyperparameters, newest metrics, status."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.backend_context import Context
    from tensorboard.plugins.hparams.list_session_groups import Handler

    events = EventMultiplexer(tensor_size_guidance={"tensors": 100})
    events.AddRunsFromDirectory(str(folder))
    events.Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(events, str(folder))))
    statuses = [getattr(api_pb2, f"STATUS_{name}") for name in ("UNKNOWN", "SUCCESS")]
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        include_metrics=True,
        allowed_statuses=statuses,
        aggregation_type=api_pb2.AGGREGATION_AVG,
    )
    found = Handler(RequestContext(), context, "", request).run()
    lines = {}
    for group in found.session_groups:
        (session,) = group.sessions
        lines[group.name] = {
            "hparams": {
                key: getattr(value, value.WhichOneof("kind"))
                for key, value in group.hparams.items()
            },
            "metrics": {one.name.tag: one.value for one in session.metric_values},
            "is_complete": session.status == api_pb2.STATUS_SUCCESS,
        }
    return lines


def test_runs_that_differ_in_their_keys_have_a_line_each(tmp_path):
    for number, hparams in enumerate([{"lr": 0.5, "nesterov": True}, {"model": "a"}, {}]):
        events = TensorBoardEvents(tmp_path / str(number), 1, Label(f"trial {number}", hparams))
        for epoch in (1, 2):
            events.write(epoch, {"epoch": epoch, "objective": epoch + 0.25, "val_loss": number})
        if number == 0:
            events.complete()
        events.close()
    lines = hparams_view(tmp_path)
    assert lines["trial 0"] == {
        "hparams": {"lr": 0.5, "nesterov": True},
        "metrics": {"objective": 2.25, "val_loss": 0},
        "is_complete": True,
    }
    assert lines["trial 1"]["hparams"] == {"model": "a"}
    assert not lines["trial 1"]["is_complete"]
    assert lines["trial 2"]["hparams"] == {}
    assert lines["trial 2"]["metrics"]["val_loss"] == 2


def test_a_run_that_goes_on_has_one_line_with_its_newest_metrics(tmp_path):
    for first in (1, 2):
        events = TensorBoardEvents(tmp_path / "run", first, Label("run", {"lr": 0.5}))
        for epoch in range(first, 4):
            events.write(epoch, {"epoch": epoch, "objective": 10 * first + epoch})
        events.close()
    assert hparams_view(tmp_path)["run"]["metrics"] == {"objective": 23}


@pytest.mark.slow
def test_the_view_shows_a_sweep(command: Command, tmp_path):
    done = command(
        "-m",
        *SMALL[1:],
        "hydra/launcher=basic",
        "model=resnet18,plain18",
        "optimizer.nesterov=true",
        "optimizer.lr=1e-3",
        "data.num_test=20",
        "trainer.tensorboard=true",
        "trainer.epochs=1",
    )
    assert done.returncode == 0, done.stderr
    folder = only_sweep(tmp_path)
    lines = hparams_view(folder)
    assert len(lines) == 2
    for number, model in enumerate(("resnet18", "plain18")):
        path = folder / "trials" / str(number)
        line = lines[str(path.relative_to(tmp_path))]
        assert line["is_complete"]
        assert line["hparams"] == {
            "model": model,
            "optimizer.nesterov": True,
            "optimizer.lr": 0.001,
            "data.num_train": 96,
            "data.num_val": 40,
            "data.num_test": 20,
            "trainer.epochs": 1,
        }
        result = json.loads((path / "result.json").read_text())
        expected = {
            "objective": result["objective"],
            **{f"best_{key}": result["best"][key] for key in ("epoch", "val_loss")},
            "val_accuracy": result["last"]["val_accuracy"],
            **result["test"],
        }
        metrics = {key: line["metrics"][key] for key in expected}
        assert metrics == pytest.approx(expected)
        # No second run beside it.
        assert len(list((path / "tensorboard").iterdir())) == 1
