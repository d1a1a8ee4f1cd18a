from resnet_sweep.training.continuation import config_differences


def test_every_difference_is_named_and_what_cannot_matter_is_not():
    old = {"optimizer": {"lr": 0.1, "betas": (0.9, 0.99)}, "trainer": {"threads": 1, "seed": 0}}
    new = {"optimizer": {"lr": 0.2, "betas": [0.9, 0.99]}, "trainer": {"threads": 8, "seed": 1}}
    faults = config_differences(old, new)
    assert [(fault.key, fault.value, fault.rule) for fault in faults] == [
        ("optimizer.lr", 0.2, "the unfinished run has optimizer.lr=0.1"),
        ("trainer.seed", 1, "the unfinished run has trainer.seed=0"),
    ]
    assert all("trainer.resume=never" in fault.fix for fault in faults)


def test_a_setting_that_only_one_has_is_a_difference():
    faults = config_differences({"a": {"b": 1}}, {"a": {}})
    assert [fault.key for fault in faults] == ["a", "a.b"]
    assert config_differences({"a": {}}, {"a": {}}) == []
