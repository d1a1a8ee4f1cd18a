"""The rule of the splits: balanced, nested, the same everywhere."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_sweep.data.config import DataConfig
from resnet_sweep.data.sources._base import Sample
from resnet_sweep.data.splits import balanced, select
from resnet_sweep.faults import DataError

CLASSES = ("cat", "dog", "owl")


def make_samples(*counts, split=None):
    return [
        Sample(label, f"{CLASSES[label]}.{number}{split or ''}", "", "", split)
        for label, count in enumerate(counts)
        for number in range(count)
    ]


def names_of(samples, indices):
    return [samples[index].name for index in indices]


def test_frozen_expectation():
    # Whoever changes this changes the split of every user and every published number.
    samples = make_samples(10, 10)
    chosen = select(samples, CLASSES[:2], DataConfig(num_train=4, num_val=3, num_test=2))
    assert names_of(samples, chosen.train) == ["dog.3", "dog.2", "cat.1", "cat.3"]
    assert names_of(samples, chosen.val) == ["dog.8", "cat.5", "cat.0"]
    assert names_of(samples, chosen.test) == ["dog.0", "cat.6"]


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(20, 40), min_size=2, max_size=3),
    num_train=st.integers(3, 12),
    more=st.integers(0, 6),
    num_val=st.integers(1, 6),
    num_test=st.integers(0, 6),
    seed=st.integers(0, 2**32),
    order=st.randoms(use_true_random=False),
)
def test_rule(counts, num_train, more, num_val, num_test, seed, order):
    samples = make_samples(*counts)
    classes = CLASSES[: len(counts)]
    config = DataConfig(num_train=num_train, num_val=num_val, num_test=num_test, split_seed=seed)
    chosen = select(samples, classes, config)
    for part, num in ((chosen.train, num_train), (chosen.val, num_val), (chosen.test, num_test)):
        labels = Counter(samples[index].label for index in part)
        assert [labels[label] for label in range(len(classes))] == balanced(num, len(classes))
    assert len(set(chosen.order)) == num_train + num_val + num_test

    config.num_train = num_train + more
    larger = select(samples, classes, config)
    assert (larger.val, larger.test) == (chosen.val, chosen.test)
    assert set(chosen.train) <= set(larger.train)

    shuffled = list(samples)
    order.shuffle(shuffled)
    assert names_of(shuffled, select(shuffled, classes, config).order) == names_of(
        samples, larger.order
    )


def test_null_takes_what_is_left_and_a_fifth():
    samples = make_samples(20, 11)
    chosen = select(samples, CLASSES[:2], DataConfig(num_test=2))
    assert Counter(samples[i].label for i in chosen.val) == {0: 4, 1: 2}
    assert Counter(samples[i].label for i in chosen.train) == {0: 15, 1: 8}


def test_own_validation_split():
    samples = make_samples(9, 9) + make_samples(4, 6, split="val")
    chosen = select(samples, CLASSES[:2], DataConfig(num_test=4))
    assert sorted(chosen.val) == list(range(18, 28))
    assert len(chosen.train) == 14
    drawn = select(samples, CLASSES[:2], DataConfig(num_val=4))
    assert set(drawn.val) < set(chosen.val)
    with pytest.raises(DataError, match=r"validation split has cat 4, dog 6; type data.num_val=8"):
        select(samples, CLASSES[:2], DataConfig(num_val=12))


def test_broken_samples_are_as_though_they_were_not_there():
    samples = make_samples(12, 12)
    config = DataConfig(num_train=8, num_val=4, num_test=2)
    broken = {3, 5, 14}
    sound = [sample for index, sample in enumerate(samples) if index not in broken]
    chosen = select(samples, CLASSES[:2], config, broken)
    expected = select(sound, CLASSES[:2], config)
    assert names_of(samples, chosen.order) == names_of(sound, expected.order)


def test_classes_are_mixed():
    samples = make_samples(200, 200)
    train = select(samples, CLASSES[:2], DataConfig()).train
    labels = [samples[index].label for index in train]
    changes = sum(a != b for a, b in pairwise(labels))
    assert 120 < changes < 200


def test_split_seed_changes_the_split():
    samples = make_samples(50, 50)
    first, second = (select(samples, CLASSES[:2], DataConfig(split_seed=s)) for s in (0, 1))
    assert set(first.val) != set(second.val)


def test_largest_possible_count_that_is_named_does_work():
    samples = make_samples(9, 7, 12)
    with pytest.raises(DataError, match=r"type data\.num_train=19 or less") as error:
        select(samples, CLASSES, DataConfig(num_train=40, num_val=3))
    assert str(error.value) == (
        "the data cannot be used (1 fault):\n"
        "  data.num_train=40: needs cat 14, dog 13, owl 13, but there are cat 8, dog 6, owl 11 "
        "after 3 for data.num_val; type data.num_train=19 or less"
    )
    assert len(select(samples, CLASSES, DataConfig(num_train=19, num_val=3)).train) == 19
    with pytest.raises(DataError):
        select(samples, CLASSES, DataConfig(num_train=20, num_val=3))


@pytest.mark.parametrize(
    ("counts", "config", "match"),
    [
        ((5, 0), DataConfig(), "at least two classes, but the classes found are: cat 5, dog 0"),
        ((0, 0), DataConfig(), "cat 0, dog 0"),
        ((5, 5), DataConfig(num_val=10), r"num_train=null: must give .* dog 0 after 10 for"),
        ((5, 1), DataConfig(), r"num_train=null: must give every class .* cat 4, dog 0"),
        ((5, 5, 0), DataConfig(), r"root=.*: has classes without an image: owl; put im"),
        ((5, 5), DataConfig(num_train=20, num_val=20, num_test=20), "3 faults"),
    ],
)
def test_errors(counts, config, match):
    with pytest.raises(DataError, match=match):
        select(make_samples(*counts), CLASSES[: len(counts)], config)
