import pickle

import pytest

from resnet_sweep.faults import ConfigError, DataError, Fault, UserError, in_range, one_of


def test_a_fault_reads_as_key_value_rule_choices_and_fix():
    fault = Fault("a.b", None, "must be set", ("x", "y"), "type a.b=x")
    assert str(fault) == "a.b=null: must be set; choose one of: x, y; type a.b=x"


def test_an_error_tells_all_of_its_faults():
    error = ConfigError([Fault("a", 1, "is odd"), Fault("b", 2, "is even")])
    assert str(error) == "the configuration is refused (2 faults):\n  a=1: is odd\n  b=2: is even"


@pytest.mark.parametrize("kind", [ConfigError, DataError, UserError])
def test_errors_cross_processes_whole(kind):
    error = kind([Fault("a", 1, "is odd")])
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert copy.faults == error.faults
    assert str(copy) == str(error)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (0, "must be greater than 0"),
        (11, "must be at most 10"),
        (float("nan"), "must be a finite number"),
        (float("-inf"), "must be a finite number"),
    ],
)
def test_a_number_out_of_range_breaks_one_rule(value, rule):
    assert [fault.rule for fault in in_range("a", value, above=0, at_most=10)] == [rule]


def test_a_number_in_range_and_no_number_have_no_fault():
    assert in_range("a", 10, above=0, at_most=10) == []
    assert in_range("a", None, above=0) == []
    assert one_of("a", "x", ("x", "y")) == []
