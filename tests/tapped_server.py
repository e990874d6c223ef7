"""``python -m iii_trio`` with a tap on every link: see ``tests/frame_tap.py``."""

import os
import pathlib
import runpy

from tests import frame_tap


def install() -> None:
    """Report to the file that the environment names."""
    path = os.environ.get(frame_tap.REPORT)
    if path is None:
        return
    with pathlib.Path(path).open("a") as report:
        if not report.tell():
            report.write("tapped\n")

    def tell(news: str) -> None:
        with pathlib.Path(path).open("a") as report:
            report.write(f"{news}\n")

    frame_tap.FrameTap(tell).install()


if __name__ == "__main__":
    install()
    runpy.run_module("iii_trio", run_name="__main__", alter_sys=True)
