import threading
import time

from container.serving.turns import Turns


def test_turns_come_in_the_order_in_which_they_were_asked_for():
    turns, order, is_asking = Turns(1), [], threading.Semaphore(0)
    assert turns.take(0)

    def ask(number):
        is_asking.release()
        assert turns.take(10)
        order.append(number)
        turns.give_back()

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        is_asking.acquire()
        time.sleep(0.02)
    turns.give_back()
    for thread in threads:
        thread.join()

    assert order == [0, 1, 2, 3, 4]
    assert turns.take(0)


def test_who_does_not_get_a_turn_in_time_stands_in_nobodys_way():
    turns = Turns(2)
    assert turns.take(0)
    assert turns.take(0)

    assert not turns.take(0.01)
    assert not turns.take(0)
    turns.give_back()
    assert turns.take(0)
    turns.give_back()
    turns.give_back()
    assert turns.take(0)
    assert turns.take(0)
    assert not turns.take(0)


def test_there_are_never_more_turns_than_there_are():
    turns, lock, taken, most = Turns(3), threading.Lock(), 0, 0

    def work():
        nonlocal taken, most
        for _ in range(300):
            if not turns.take(0.0005):
                continue
            with lock:
                taken += 1
                most = max(most, taken)
            time.sleep(0)
            with lock:
                taken -= 1
            turns.give_back()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 3
    assert all(turns.take(0) for _ in range(3))
    assert not turns.take(0)
