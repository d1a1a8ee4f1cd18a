"""What README and docs tell their reader to type, typed.

Every command is composed, checked and planned as it stands; the slow test runs it, smaller. What
neither can do stands in ``ELSEWHERE`` and ``NOT_RUN``, with the reason.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT
from documented import PAGES, Documented, commands_of, files_of
from hydra import initialize_config_dir, utils
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from PIL import Image
from stand_ins import STAND_INS
from sweep.in_process import App, _logging_restored
from warm import Done, Warm

from resnet_sweep.app import run_trial
from resnet_sweep.command import Command as Typed
from resnet_sweep.config import composed_faults, register_schema
from resnet_sweep.faults import ConfigError
from resnet_sweep.models.allow import take_allow
from resnet_sweep.models.config import allow
from resnet_sweep.refusals import REFUSED
from resnet_sweep.trusted import command_faults, execution_whitelist, typed_commands

TOOLS = ("resnet_sweep.report", "resnet_sweep.status", "resnet_sweep.summary")
# Commands that are not this project's, by how they begin, and what tries them instead.
ELSEWHERE = {
    "python3 -m venv": "the first thing that .ci/run does",
    ". ": "the same",
    "pip install": "the same, and tests/test_wheel.py",
    "pytest": "the last thing that .ci/run does",
}
STUDIES = {path.stem for path in (ROOT / "conf" / "study").glob("*.yaml")}
# Ours that need what is not here: composed, checked and planned all the same.
NOT_RUN = {
    r"hydra/launcher=(slurm|ray|submitit_\w+)\b": "a cluster",
    r"hydra\.sweeper\.storage=postgresql:": "a server",
    r"trainer\.device=cuda": "a GPU",
    r"trainer\.compile=always": "a compiler, and minutes of it",
    r"data=(oxford_pets|cifar10)\b": "a download",
    rf"(^| )study=({'|'.join(sorted(STUDIES - {'confirm'}))})\b": "hours: test_studies.py",
}
HELP = ("--help", "--hydra-help", "--version", "--cfg", "--info", "-sc")
# Later overrides win, so that the commands take seconds.
FEW = ("data.num_train=64", "data.num_val=20", "trainer.epochs=1", "trainer.threads=1")
QUICK_EXAMPLES = {"examples/own_application/train.py": ("epochs=2",)}
NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
"""
SAMPLE = r"""
Type `python -m resnet_sweep
model=resnet18` and not `--help`.
```bash
X=1 pip install -e . && resnet-sweep -m 'lr=tag(log, 1)' \
    a=1  # why
```
```
$ python -m resnet_sweep a=b
the configuration is refused
$ ls
```
```
python app.py -m x=1
epoch 1
```
```yaml
# my/file.yaml
a: 1
```
```yaml
# @package _global_
# my/other.yaml
a: 1
```
"""


def kind_of(one: Documented) -> str | None:
    """Which test has a command; None if none has.

    run, tool, example: ``test_every_command_runs``; benchmark and application: those below.
    """
    program, module = one.words[0], one.words[2] if one.words[1:2] == ("-m",) else ""
    if program == "resnet-sweep" or module == "resnet_sweep":
        return "run"
    if module in TOOLS:
        return "tool"
    if module.startswith("benchmarks."):
        return "benchmark"
    script = one.words[1] if program == "python" and len(one.words) > 1 else ""
    if script in STAND_INS:
        return "application"
    if script and (ROOT / script).is_file():
        return "example"
    text = " ".join((*one.words, ""))
    return "elsewhere" if any(text.startswith(begin) for begin in ELSEWHERE) else None


def commands(page: Path, *kinds: str) -> list[Documented]:
    return [one for one in commands_of(page) if kind_of(one) in kinds]


def test_commands_are_found_wherever_they_stand(tmp_path: Path):
    (tmp_path / "page.md").write_text(SAMPLE)
    found = commands_of(tmp_path / "page.md")
    assert [(one.line, *one.words) for one in found] == [
        (2, "python", "-m", "resnet_sweep", "model=resnet18"),
        (5, "pip", "install", "-e", "."),
        (5, "resnet-sweep", "-m", "lr=tag(log, 1)", "a=1"),
        (9, "python", "-m", "resnet_sweep", "a=b"),
        (11, "ls"),
        (14, "python", "app.py", "-m", "x=1"),
    ]
    assert found[1].env == (("X", "1"),)
    assert [one.said for one in found[3:5]] == ["the configuration is refused", ""]
    assert files_of(tmp_path / "page.md") == {
        "my/file.yaml": "# my/file.yaml\na: 1\n",
        "my/other.yaml": "# @package _global_\n# my/other.yaml\na: 1\n",
    }


def test_every_command_is_run_by_a_test_or_is_known_to_need_something():
    assert sum(len(commands(page, "run", "tool")) for page in PAGES) > 15
    unknown = [one.text for page in PAGES for one in commands_of(page) if kind_of(one) is None]
    assert unknown == [], (
        "no test runs these: put how they begin into ELSEWHERE here, with what tries them instead, "
        "or teach kind_of what they are"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's working directory, with a network and images of their own."""
    (tmp_path / "my_networks.py").write_text(NETWORK)
    (tmp_path / "FOLDER").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in (ROOT, tmp_path):
        monkeypatch.syspath_prepend(path)
    return tmp_path


def arguments_of(one: Documented) -> list[str]:
    """The words behind the program."""
    num = 1 if one.words[0] == "resnet-sweep" else 3 if one.words[1] == "-m" else 2
    return list(one.words[num:])


def settled(one: Documented, folder: Path) -> list[str]:
    """The words behind the program, with the reader's files written and their folders made."""
    words = [re.sub(r"[\w./-]*(<study>|STUDY)", "outputs/made", word) for word in arguments_of(one)]
    words = [re.sub(r"^(hydra\.\w+\.dir)=FOLDER$", r"\1=outputs/here", word) for word in words]
    for name, text in files_of(ROOT / one.page).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for word in words:
        key, _, value = word.partition("=")
        is_new = key in ("data.root", "data.val_root") and not Path(value).is_absolute()
        if is_new and not (folder / value).exists():
            (folder / value).symlink_to(folder / "FOLDER")
    return words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_composed_checked_and_planned(page: Path, folder: Path, capsys):
    register_schema()
    wrong = []
    for one in {one.words: one for one in commands(page, "run")}.values():
        capsys.readouterr()
        try:
            told = refusal(settled(one, folder))
        except SystemExit as end:  # Our sweeper tells it by itself.
            told = capsys.readouterr().err.strip() or f"exit code {end.code}"
        if told != (one.said if "is refused" in one.said else ""):
            wrong.append(f"{one.text}\n{told}")
    capsys.readouterr()
    assert wrong == []


def refusal(words: list[str]) -> str:
    """What is wrong with arguments of ours; empty if nothing is."""
    if any(word in HELP for word in words):
        return ""  # Costs nothing to be run.
    words = take_allow(words)
    allow(typed_commands(words))
    typed = Typed.typed(words)
    try:
        config = typed.compose(typed.overrides)
        found = command_faults(config) + composed_faults(config)
        if not found and typed.is_multirun:
            plan(typed)
    except ConfigError as error:
        return str(error)
    except REFUSED as error:
        found = typed.faults(error)
    return str(ConfigError(found)) if found else ""


def plan(typed: Typed) -> None:
    """Composes and checks every trial of a sweep of ours, as typed and then without a cluster."""
    overrides = list(typed.overrides)
    if typed.folder is not None:
        overrides.append(f"hydra.searchpath=['file://{Path(typed.folder).absolute()}']")
    with initialize_config_dir(str(typed.root)):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration(typed.name, overrides, RunMode.MULTIRUN)
    typed_launcher = next((one for one in overrides if one.startswith("hydra/launcher=")), "=local")
    assert config.hydra.runtime.choices["hydra/launcher"] == typed_launcher.partition("=")[2]
    assert find_spec(config.hydra.launcher._target_.rpartition(".")[0]) is not None
    is_ours = config.hydra.sweeper._target_.startswith("resnet_sweep.")
    if not is_ours or "study=confirm" in overrides:
        return  # Hydra's own cannot plan; an earlier study is there when it is run.
    if typed_launcher != "=local":
        cluster = re.compile(r"\+?hydra[./](launcher|sweeper\.storage)")
        overrides = [one for one in overrides if not cluster.match(one)]
    search_path = create_config_search_path(str(typed.root))
    hydra = Hydra.create_main_hydra2("resnet_sweep", search_path)
    try:
        with utils.execution_whitelist(execution_whitelist()), _logging_restored():
            lines = [*overrides, "hydra.sweeper.plan=true"]
            hydra.multirun(typed.name, run_trial, lines, with_log_configuration=False)
    finally:
        GlobalHydra.instance().clear()


@pytest.mark.parametrize(
    "line", sorted({shlex.join(one.words) for page in PAGES for one in commands(page, "benchmark")})
)
def test_every_benchmark_has_the_options_that_are_typed(line: str):
    module, *arguments = shlex.split(line)[2:]
    spec = find_spec(module)
    assert spec is not None
    if spec.submodule_search_locations:
        module = f"{module}.__main__"
    program = importlib.import_module(module) if arguments else None
    if hasattr(program, "build_parser"):
        program.build_parser().parse_intermixed_args(arguments)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page, "application")])
def test_every_sweep_of_somebodys_application_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for one in commands(page, "application"):
        app = App(tmp_path / str(one.line), lambda cfg: 1.0)
        monkeypatch.chdir(app.folder)
        for name, text in STAND_INS[one.words[1]].items():
            app.write(f"{name}.yaml", text)
        for name, text in files_of(page).items():
            app.write(name.removeprefix("configs/"), text)
        # `...` is what the reader has typed before.
        words = [word for word in one.words[2:] if word not in ("-m", "...")]
        few = ["lr=interval(1,2)"] if "..." in one.words else []
        few += ["hydra.sweeper.n_trials=2", "hydra/launcher=basic", "hydra.sweep.dir=out"]
        app.sweep(*words, *few)
        if "hydra.sweeper.plan=true" in words:
            assert app.seen == [], one.text
            continue
        # Two are drawn; values that are drawn twice are not run twice.
        assert app.seen, one.text
        assert len(app.trials()) == 2, one.text


def fill(images: Path) -> None:
    """Writes pictures of noise, in folders that are classes."""
    rng = np.random.default_rng(0)
    for i in range(320):
        path = images / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_runs(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """Each once, in the order of the pages, in one folder."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    fill(folder / "FOLDER")
    warm = Warm(tmp_path_factory.mktemp("log") / "said")
    wrong, seen = [], set()
    try:
        made = made_study(warm, folder)
        for one in (one for page in PAGES for one in commands(page, "run", "tool", "example")):
            if any(re.search(need, " ".join(one.words)) for need in NOT_RUN):
                continue
            words = shrunk(one, folder)
            # The console script is tested by its own tests.
            kind = kind_of(one)
            if (key := ("run" if kind == "run" else one.words[:3], *words)) in seen:
                continue
            seen.add(key)
            copy_studies(words, folder, made)
            head = one.words[: len(one.words) - len(arguments_of(one))]
            done = warm.run([*head, *words], folder, dict(one.env))
            wrong += [f"{one.text}\n{fault}" for fault in faults_of(one, done, folder)]
    finally:
        warm.close()
    assert len(seen) > 10
    assert wrong == [], "\n\n".join(wrong)


def faults_of(one: Documented, done: Done, folder: Path) -> Iterator[str]:
    """What a command should have done otherwise."""
    if "is refused" in one.said:
        if done.returncode != 2 or done.said.strip() != one.said:
            yield f"exit code {done.returncode}: {done.said}"
    elif done.returncode != 0:
        yield f"exit code {done.returncode}: {done.said}"
    elif "trainer.profile=true" in one.words and not (
        "a step takes" in done.said and list(folder.rglob("trace.json.gz"))
    ):
        yield f"no profile: {done.said}"


def made_study(warm: Warm, folder: Path) -> Path:
    """A study that the reader has run before."""
    words = shlex.split("python -m resnet_sweep -m hydra.sweeper.study_name=made model=resnet18")
    words += ["optimizer.lr=1e-2,1e-3", "hydra/launcher=basic", *FEW]
    done = warm.run(words, folder, {})
    assert done.returncode == 0, done.said
    return folder / "outputs" / "made"


def shrunk(one: Documented, folder: Path) -> list[str]:
    """The words behind the program, with what makes them quick."""
    words = settled(one, folder)
    if kind_of(one) == "tool" or any(word in HELP for word in words) or "is refused" in one.said:
        # Where only its name stands, what it is to read is left out.
        words = words or ([] if one.words[-1].endswith("summary") else ["FOLDER"])
        return ["outputs/made" if word == "FOLDER" else word for word in words]
    keys = {word.partition("=")[0] for word in words}
    is_example = kind_of(one) == "example"
    words = [re.sub(r"(resnet|plain)(34|50|101|152)", r"\g<1>18", word) for word in words]
    if not is_example and not keys & {"model", "model._target_", "--config-name", "study"}:
        words.append("model=resnet18")
    if "-m" in words and "hydra/launcher" not in keys:
        words = [word for word in words if not word.startswith("hydra.launcher.")]
        words.append("hydra/launcher=basic")
    if "study=confirm" in words:
        return [*words, "hydra.sweeper.trials.best=1", "hydra.sweeper.repeats=2"]
    fewer: dict[str, str | int] = {"hydra.sweeper.repeats": 2, "data.num_test": 10}
    if not any(re.fullmatch(r"hydra\.sweeper\.n_trials=[123]", word) for word in words):
        fewer["hydra.sweeper.n_trials"] = 2
    # A study of the reader's may draw batches of any size.
    fewer |= {"data.root": "data.image_size=32", "study": "hydra.sweeper.n_trials=2"}
    for key, value in fewer.items():
        if key in keys:
            words.append(value if isinstance(value, str) else f"{key}={value}")
    if is_example:
        return [*words, *QUICK_EXAMPLES.get(one.words[1], ())]
    if "--config-name" in keys:
        return words
    return [*words, *FEW, *(["data.num_train=256"] if "study" in keys else [])]


def copy_studies(words: Sequence[str], folder: Path, made: Path) -> None:
    """Puts a study wherever a command expects one."""
    for word in words:
        key, _, name = word.rpartition("=")
        is_new = key in ("hydra.run.dir", "hydra.sweep.dir") or (folder / name).exists()
        if re.fullmatch(r"outputs/[\w.-]+", name) and not is_new:
            shutil.copytree(made, folder / name)
