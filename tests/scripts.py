"""The console script, as an installation of this checkout writes it."""

import sys
import tomllib
from pathlib import Path

from commands import ROOT


def write_script(folder: Path) -> Path:
    """Writes ``resnet-sweep`` for this Python, as the installed one may be of another state."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["resnet-sweep"].partition(":")
    folder.mkdir()
    script = folder / "resnet-sweep"
    script.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"from {module} import {function}\n"
        f"if __name__ == '__main__':\n    sys.exit({function}())\n"
    )
    script.chmod(0o755)
    return script
