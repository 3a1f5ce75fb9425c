import threading
import time

import pytest

from fm_algo.training.gradient.read_ahead import ReadAhead


def test_reading_ahead_keeps_the_order_and_ends():
    ahead = ReadAhead(iter(range(100)), 3)
    assert list(ahead) == [*range(100)]
    ahead.close()


def test_reading_ahead_makes_no_more_than_asked():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    ahead = ReadAhead(items(), 3)
    assert next(ahead) == 0
    time.sleep(0.3)
    assert len(made) <= 1 + 3 + 1  # taken, ready, and one in hand
    ahead.close()


def test_an_error_in_reading_ahead_comes_out_in_its_place():
    def items():
        yield 1
        raise ValueError("broken")

    ahead = ReadAhead(items(), 3)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)
    ahead.close()


def test_closing_early_ends_the_thread():
    before = set(threading.enumerate())  # of other tests, some may be about to end
    ahead = ReadAhead(iter(range(10**9)), 2)
    next(ahead)
    ahead.close()
    assert set(threading.enumerate()) <= before


def test_an_error_does_not_wait_for_an_item_that_never_comes():
    never = threading.Event()

    def items():
        yield 1
        never.wait()
        yield 2

    def use(ahead):
        with ahead:
            next(ahead)
            raise ValueError("meanwhile")

    ahead = ReadAhead(items(), 2)
    with pytest.raises(ValueError, match="meanwhile"):
        use(ahead)
    never.set()
    ahead.close()
