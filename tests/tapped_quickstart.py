"""The Quickstart's ``run.py``, whose engine has a tap: see ``tests/frame_tap.py``."""

import importlib
import runpy
import sys

from tests import sdks

if __name__ == "__main__":
    sys.path.insert(0, str(sdks.QUICKSTART))
    stage = importlib.import_module("stage")
    stage._iii_trio = lambda: [sys.executable, "-m", "tests.tapped_server"]  # type: ignore[attr-defined]
    runpy.run_path(str(sdks.QUICKSTART / "run.py"), run_name="__main__")
