"""Modules for the end of a sweep are there early, and never in the way."""

import importlib.util
import logging
import subprocess
import sys
import threading

import pytest

from resnet_sweep.sweep import foresight
from resnet_sweep.sweep.foresight import report_loading

SCRIPT = """
import sys
from resnet_sweep.sweep.foresight import report_loading
with report_loading(after_s={after_s}):
    pass
print([name for name in ("pandas", "sklearn") if name in sys.modules])
"""


def test_a_short_sweep_loads_nothing_early():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(after_s=60.0)], capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_long_sweep_finds_them_loaded_and_goes_on_without_what_is_broken(monkeypatch, tmp_path):
    loaded = threading.Event()
    (tmp_path / "early_broken.py").write_text("raise RuntimeError('not today')")
    (tmp_path / "early_sound.py").write_text("import early_told\nearly_told.event.set()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "early_told", type(sys)("early_told"))
    sys.modules["early_told"].event = loaded
    names = ("early_missing", "early_broken", "early_sound")
    monkeypatch.setattr(foresight, "_MODULES", names)
    with report_loading(after_s=0.0):
        assert loaded.wait(30)
    assert "early_sound" in sys.modules
    monkeypatch.delitem(sys.modules, "early_sound")


@pytest.mark.parametrize(("level", "told"), [(logging.NOTSET, []), (logging.INFO, ["found"])])
def test_a_search_for_fonts_is_told_to_who_asks_for_it(monkeypatch, caplog, level, told):
    fonts = logging.getLogger("matplotlib.font_manager")
    monkeypatch.setattr(foresight, "_MODULES", ())
    caplog.set_level(logging.INFO)
    before = fonts.level
    fonts.setLevel(level)
    try:
        foresight._load(threading.Event(), 0.0)
        fonts.info("found")
        logging.getLogger("matplotlib").info("another's")
    finally:
        fonts.setLevel(before)
    assert caplog.messages == [*told, "another's"]


def test_the_thread_is_gone_at_the_end_also_after_an_error():
    def interrupted():
        with report_loading():
            assert any(thread.name == "report" for thread in threading.enumerate())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not any(thread.name == "report" for thread in threading.enumerate())


def test_its_modules_are_there():
    assert all(importlib.util.find_spec(name) for name in foresight._MODULES)
