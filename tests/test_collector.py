"""What is loaded is set aside from garbage collections, what comes later is not."""

import gc
import weakref

import pytest

from resnet_sweep.collector import loading_modules


class Node:
    """Part of a cycle, which only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def collector():
    yield
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_meanwhile_and_what_was_made_then_is_left_alone():
    with loading_modules():
        assert not gc.isenabled()
        kept = weakref.ref(Node())
    assert gc.isenabled()
    gc.collect()
    assert kept() is not None
    later = weakref.ref(Node())
    gc.collect()
    assert later() is None


def test_a_collector_that_was_off_stays_off_also_after_an_error():
    gc.disable()
    with pytest.raises(ImportError, match="no such module"), loading_modules():
        raise ImportError("no such module")
    assert not gc.isenabled()
