"""The files of a study: their names, and how a new folder is made that nobody else gets."""

from __future__ import annotations

from pathlib import Path, PurePath


class StudyFolder:
    """The folder of one study; the only place that names its files."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def below(self, name: object) -> Path | None:
        """A folder that the study names for a trial.

        Args:
            name: As the study has it; who wrote the study may have written anything.

        Returns:
            Its path; None for one that would be somewhere else.
        """
        if not isinstance(name, str) or "\0" in name:
            return None
        path = self.path / name
        is_below = path != self.path and path.is_relative_to(self.path)
        return path if is_below and ".." not in PurePath(name).parts else None

    def holds(self, path: Path) -> bool:
        """Whether a path is in the folder when all links are followed, so that it is its own."""
        return path.resolve().is_relative_to(self.path.resolve())

    @property
    def journal(self) -> Path:
        """The study itself, unless a storage URL is given."""
        return self.path / "study.journal"

    @property
    def conf(self) -> Path:
        """The config sources, frozen at the study's first start."""
        return self.path / "conf"

    @property
    def multirun_yaml(self) -> Path:
        """The sweep's own composed configuration; names the storage and the study in it."""
        return self.path / "multirun.yaml"

    @property
    def trials(self) -> Path:
        """Where our own trials write, each below its number."""
        return self.path / "trials"

    @property
    def workers(self) -> Path:
        """A folder for each worker: its lock and what it prints."""
        return self.path / "workers"

    def worker_lock(self, worker: str) -> Path:
        """Held by a worker as long as it lives."""
        return self.workers / f"{worker}.lock"

    def worker_told(self, worker: str) -> Path:
        """Made when a worker is told to stop by who looks after it, and not by its own trial."""
        return self.workers / f"{worker}.told"

    def worker_end(self, worker: str) -> Path:
        """How the process of a worker has ended, written by who looks after it."""
        return self.workers / f"{worker}.end"

    def how_lost(self, worker: str) -> str:
        """In one line why a worker's trial is lost, as far as anybody knows."""
        try:
            end = self.worker_end(worker).read_text()
        except OSError:
            return "lost: its worker ended without a word"
        if not end.startswith("killed"):
            return f"lost: its worker ended with {end}"
        hint = ", as the system does when memory runs out" if end.endswith("SIGKILL") else ""
        return f"lost: its worker was {end}{hint}"

    @property
    def events_log(self) -> Path:
        """A line for each trial that starts or ends, in the order in which it happens."""
        return self.path / "events.log"

    @property
    def sweep_lock(self) -> Path:
        """Held by a sweep while it begins, or joins others."""
        return self.path / "sweep.lock"

    @property
    def sessions(self) -> Path:
        """A file for each sweep that works on the study."""
        return self.path / "sessions"

    def session(self, name: str) -> Path:
        """Held by a sweep as long as it lives; its workers end when it is gone."""
        return self.sessions / name

    @property
    def claim_lock(self) -> Path:
        """Held while a worker takes its next trial."""
        return self.path / "claim.lock"

    @property
    def results_csv(self) -> Path:
        """A row a run."""
        return self.path / "results.csv"

    @property
    def history_csv(self) -> Path:
        """A row a run and epoch."""
        return self.path / "history.csv"

    @property
    def report_html(self) -> Path:
        """The report, one page."""
        return self.path / "report.html"

    @property
    def plots(self) -> Path:
        """The report's plots as PNG files, for those who ask for them."""
        return self.path / "plots"

    def best_yaml(self, place: int = 1) -> Path:
        """All settings of the best trial, or of the one at this place from 1 on."""
        return self.path / ("best.yaml" if place == 1 else f"best-{place}.yaml")

    @property
    def optimization_results_yaml(self) -> Path:
        """The best parameters and value, as hydra-optuna-sweeper writes them."""
        return self.path / "optimization_results.yaml"
