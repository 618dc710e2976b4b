from plugway_llama_cpp._threads import FEW, Threads


def decode(threads, seconds, steps, count=1):
    """Let `seconds[n]` be what a step with n threads takes; returns how often each was used."""
    used = dict.fromkeys(seconds, 0)
    for _ in range(steps):
        chosen = threads.choose(count)
        used[chosen] += 1
        threads.report(count, seconds[chosen])
    return used


def test_the_faster_number_of_threads_is_found_and_kept():
    threads = Threads(4, first=1)
    decode(threads, {1: 2.0, 4: 1.0}, 300)
    used = decode(threads, {1: 2.0, 4: 1.0}, 2000)
    assert used[4] > 0.95 * 2000


def test_a_much_slower_number_is_hardly_tried():
    used = decode(Threads(4, first=1), {1: 1.0, 4: 50.0}, 5000)
    assert used[4] < 12


def test_it_follows_a_machine_that_changes():
    threads = Threads(2, first=2)
    decode(threads, {1: 2.0, 2: 1.0}, 1000)
    used = decode(threads, {1: 2.0, 2: 20.0}, 500)
    assert used[2] < 10
    decode(threads, {1: 2.0, 2: 1.0}, 20_000)
    assert threads.choose(1) == 2


def test_a_step_that_is_held_up_decides_nothing():
    threads, used = Threads(2, first=2), 0
    for step in range(4000):
        chosen = threads.choose(1)
        used += chosen == 1
        held_up = 10.0 if step % 5 == 0 else 0.0
        threads.report(1, {1: 0.6, 2: 1.0}[chosen] + held_up)
    assert used > 3000


def test_prompts_use_all_threads():
    assert Threads(4, first=1).choose(FEW + 1) == 4
    assert Threads(1, first=1).choose(1) == 1
