"""``resnet-sweep``, the console script: ``python -m resnet_sweep`` in one word."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from resnet_sweep.__main__ import main


def run() -> NoReturn:
    """Runs the program; modules are found in the working directory, as with ``python -m``."""
    if not sys.flags.safe_path:
        # Last, so that nothing there takes the place of what is installed.
        sys.path.append(os.getcwd())
    main()
