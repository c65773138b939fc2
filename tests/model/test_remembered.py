"""Results are kept while there is room, in no more memory than they are counted for."""

import torch

from plaudit.model.remembered import Remembered


def test_the_oldest_result_is_forgotten_where_there_is_no_room():
    kept = Remembered(rows=10, numbers=12)
    kept.put(b"row", torch.zeros(8))
    kept.put(b"one", 0.0)
    assert kept.get(b"row") is not None
    kept.put(b"other", torch.zeros(8))  # of 17 numbers; `row` was asked for last, and goes last
    assert kept.get(b"one") is None
    assert kept.get(b"row") is None
    assert kept.get(b"other") is not None


def test_what_is_put_again_is_counted_once_and_is_the_latest():
    kept = Remembered(numbers=3)
    for number in range(5):
        kept.put(b"one", float(number))
    assert kept.get(b"one") == 4.0
    for key in (b"two", b"one", b"three", b"four"):
        kept.put(key, 0.0)
    assert kept.get(b"two") is None
    assert kept.get(b"one") == 0.0


def test_a_row_that_is_kept_keeps_its_batch_from_nothing():
    batch = torch.arange(3000.0).reshape(1000, 3)
    kept = Remembered()
    kept.put(b"row", batch[1])
    batch.zero_()
    found = kept.get(b"row")
    assert found.tolist() == [3.0, 4.0, 5.0]
    assert found.untyped_storage().nbytes() == 3 * 4
