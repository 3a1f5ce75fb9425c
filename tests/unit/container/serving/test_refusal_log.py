import io
import logging
import threading
import time

import pytest

from container.serving import refusal_log
from container.serving.refusal_log import RefusalLog


@pytest.fixture
def written():
    return io.StringIO()


@pytest.fixture
def make_log(written):
    """A logger whose handler counts for so long."""
    made = []

    def make(window_s=60.0):
        handler = RefusalLog(written, window_s)
        logger = logging.getLogger("refusals")
        logger.propagate, logger.handlers = False, [handler]
        made.append(handler)
        return logger, handler

    yield make
    for handler in made:
        handler.close()
    logging.getLogger("refusals").handlers = []


def lines(written):
    return written.getvalue().splitlines()


def test_the_first_and_the_last_of_lines_alike_are_written_with_their_number(make_log, written):
    log, handler = make_log()

    for number in range(1000):
        log.warning("%r answered %d: line %d: wrong", "POST /invocations", 400, number)
    assert lines(written) == ["'POST /invocations' answered 400: line 0: wrong"]
    handler.close()

    assert len(lines(written)) == 2
    last = lines(written)[-1]
    assert last.startswith(
        "'POST /invocations' answered 400: line 999: wrong (the last of 1000 such"
    )
    assert last.endswith(" such lines in 0.0 s)")


def test_a_line_that_comes_once_is_written_once(make_log, written):
    log, handler = make_log()

    for cause in ("tabs", "blanks", "tabs and blanks"):
        log.warning(cause)
    handler.close()

    assert lines(written) == ["tabs", "blanks", "tabs and blanks"]


def test_kinds_are_bounded(make_log, written):
    log, handler = make_log()

    for number in range(1000):
        log.warning("answered 404: %s", "x" * number)
    handler.close()

    found = lines(written)
    assert len(found) == refusal_log._MAX_KINDS + 2
    assert f"{'x' * 999} (the last of {1000 - refusal_log._MAX_KINDS} such lines in " in found[-1]


def test_errors_are_written_at_once(make_log, written):
    log, _ = make_log()

    for _ in range(3):
        log.error("failed", exc_info=ValueError("why"))

    assert lines(written) == 3 * ["failed", "ValueError: why"]


def test_the_count_is_told_after_a_while_and_counting_begins_anew(make_log, written):
    log, _ = make_log(window_s=0.1)
    for number in range(3):
        log.warning("a %d", number)
    deadline = time.monotonic() + 10
    while len(lines(written)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lines(written)[0] == "a 0"
    assert lines(written)[1].startswith("a 2 (the last of 3 such lines in 0.")

    log.warning("a %d", 4)

    assert lines(written)[2:] == ["a 4"]


def test_without_a_thread_the_next_line_ends_the_window(make_log, written, monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", start)
    log, _ = make_log(window_s=0.05)
    log.warning("a")
    log.warning("a")
    time.sleep(0.1)
    log.warning("a")

    assert len(lines(written)) == 3
    assert lines(written)[1].startswith("a (the last of 2 such lines in 0.1 s)")
    assert lines(written)[2] == "a"


def test_threads_lose_no_line(make_log, written):
    log, handler = make_log()

    def refuse():
        for number in range(500):
            log.warning("a %d", number)

    threads = [threading.Thread(target=refuse) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.close()

    assert len(lines(written)) == 2
    assert "(the last of 4000 such lines in " in lines(written)[1]
