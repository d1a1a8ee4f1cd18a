"""What is sent by value is what it was."""

import pickle
import traceback

import pytest

from resnet_sweep.sweep.local.pickling import dumps


def test_tracebacks_of_what_is_sent_by_value_name_its_file_and_show_its_lines():
    class Task:
        def __call__(self, text: str) -> None:
            def fail() -> None:
                raise ValueError(text)

            fail()

    task = pickle.loads(dumps(Task()))
    with pytest.raises(ValueError, match="as asked") as failed:
        task("as asked")
    frames = traceback.extract_tb(failed.value.__traceback__)[-2:]
    assert [frame.filename for frame in frames] == [__file__] * 2
    assert [frame.line for frame in frames] == ["fail()", "raise ValueError(text)"]
