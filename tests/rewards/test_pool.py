"""The pool: nothing hangs, nothing is lost, and a death is another attempt or a counted crash."""

import asyncio
import contextlib
import gc
import os
import random
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from support import toy_reward
from support.hostile import CANARY, CASES

from verl_maxpo.rewards.config import PoolLimits
from verl_maxpo.rewards.isolation import supervisor
from verl_maxpo.rewards.isolation.pool import Task, VerifierPool, VerifierPoolError, VerifierUnavailableError
from verl_maxpo.rewards.result import Status
from verl_maxpo.rewards.routing import Route

TOY = Route("python_function", {"path": toy_reward.__file__, "name": "compute_score"})
QUICK_TOY = Route("python_function", TOY.options, keeps_state=False)
LIMITS = PoolLimits(workers=2, timeout=0.5, memory_limit_mb=192)


@pytest.fixture(scope="module")
def pool():
    """A pool for the tests that leave it as it was."""
    pool = VerifierPool([TOY, QUICK_TOY], LIMITS)
    yield pool
    pool.close()


@pytest.fixture
def own_pool():
    pool = VerifierPool([TOY, QUICK_TOY], LIMITS)
    assert verify(pool, "1")[0].correct
    yield pool
    processes = [server(pool), *children(pool)]
    pool.close()
    assert_gone(processes)


def assert_gone(processes):
    assert not psutil.wait_procs(processes, timeout=5)[1]


def server(pool):
    return pool._supervisor._server._server


def children(pool):
    """The pool's living children."""
    return [child._process for child in list(pool._supervisor._children) if not child.ended]


def toy(response, route=QUICK_TOY):
    return Task(route, response, "1", {"data_source": "toy"})


def verify(pool, *responses, route=QUICK_TOY):
    async def gather():
        return await asyncio.gather(*(pool.verify(toy(response, route)) for response in responses))

    return asyncio.run(gather())


def verify_meanwhile(pool, responses, act):
    """Verify while something else happens in a thread."""
    thread = threading.Thread(target=act)

    async def gather():
        work = asyncio.gather(*(pool.verify(toy(response)) for response in responses))
        await asyncio.sleep(0.05)
        thread.start()
        return await work

    results = asyncio.run(gather())
    thread.join()
    return results


def assert_all_right(results):
    assert {(result.status, result.correct) for result in results} == {(Status.OK, True)}


@pytest.mark.parametrize(
    ("action", "status"),
    [
        *((action, Status.TIMEOUT) for action in ("spin", "sleep", "big integer", "ignore signals")),
        *((action, Status.CRASH) for action in ("memory", "raise", "exit", "recursion", "die", "segfault", "close")),
        *((action, Status.CRASH) for action in ("nan", "out of range")),
    ],
)
def test_trouble_has_a_status_and_costs_no_other_response(pool, action, status):
    right, trouble, wrong, also_right = verify(pool, "1", action, "2", "1")
    assert trouble.status is status
    assert (trouble.score, trouble.correct) == (0.0, False)
    assert trouble.message
    assert [right.score, wrong.score, also_right.score] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("action", toy_reward.FORBIDDEN)
def test_what_was_refused_is_noted_and_the_verdict_stands(pool, action):
    result, unhandled = verify(pool, f"try {action}", action)
    assert (result.status, result.score) == (Status.OK, 1.0)
    assert result.refused
    assert unhandled.status is Status.CRASH
    assert unhandled.refused
    assert not os.path.exists("/tmp/verl_maxpo_canary")


@pytest.mark.parametrize("action", [name for name in toy_reward.ACTIONS if name.startswith("send")])
def test_what_is_no_verdict_is_a_crash_and_is_never_unpickled(pool, action):
    right, forged, also_right = verify(pool, "1", action, "1")
    assert forged.status is Status.CRASH
    assert_all_right([right, also_right])
    assert not os.path.exists("/tmp/verl_maxpo_canary")


def test_nothing_of_a_response_is_left_for_the_next(pool):
    for _ in range(3):
        verify(pool, "remember", "remember", route=TOY)
        assert_all_right(verify(pool, "1", "1", route=TOY))


def test_a_child_that_was_refused_something_is_replaced(pool):
    verify(pool, *["1"] * 10)
    before = {process.pid for process in children(pool)}
    verify(pool, *["empty the list", "try socket"] * 2)
    verify(pool, *["1"] * 10)
    assert before.isdisjoint(process.pid for process in children(pool))


def test_order_is_kept(pool):
    results = verify(pool, *("1" if i % 3 else "2" for i in range(500)))
    assert [result.correct for result in results] == [bool(i % 3) for i in range(500)]


def test_the_event_loop_stays_free(pool):
    async def longest_pause():
        work = asyncio.gather(*(pool.verify(toy("1")) for _ in range(1000)))
        longest, before = 0.0, time.monotonic()
        while not work.done():
            await asyncio.sleep(0.001)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        return longest

    assert asyncio.run(longest_pause()) < 1.0


def test_event_loops_in_several_threads_share_a_pool(pool):
    results = []
    threads = [threading.Thread(target=lambda: results.extend(verify(pool, *["1"] * 40))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 160
    assert_all_right(results)


def test_cancelled_tasks_leave_nothing_behind(pool):
    async def cancel():
        tasks = [asyncio.ensure_future(pool.verify(toy("work"))) for _ in range(1000)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await pool.verify(toy("1"))

    assert asyncio.run(cancel()).correct
    assert pool._supervisor._queue.empty()
    gc.collect()
    assert sum(isinstance(thing, supervisor.Job) for thing in gc.get_objects()) <= LIMITS.workers


def test_every_child_and_the_server_may_be_killed(own_pool):
    def kill():
        for victims in (children(own_pool), children(own_pool)[:1], [server(own_pool)]):
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            time.sleep(0.3)

    assert_all_right(verify_meanwhile(own_pool, ["work"] * 100, kill))


def test_a_pool_killed_while_idle_comes_back(own_pool):
    for victims in (children(own_pool), [server(own_pool)]):
        for victim in victims:
            victim.kill()
        time.sleep(0.2)
        assert_all_right(verify(own_pool, "1", "1", "1"))


def test_a_stopped_child_costs_no_more_than_twice_the_limit(own_pool):
    for child in children(own_pool):
        child.suspend()
    start = time.monotonic()
    assert_all_right(verify(own_pool, "1", "1"))
    idle, start = time.monotonic() - start, time.monotonic()

    def stop():
        for child in children(own_pool):
            child.suspend()

    assert_all_right(verify_meanwhile(own_pool, ["work"] * 20, stop))
    slack = 4.0  # the work itself, on a busy machine
    assert idle < 2 * LIMITS.timeout + slack
    assert time.monotonic() - start < 2 * LIMITS.timeout + slack


def test_a_stopped_server_is_replaced(own_pool):
    server(own_pool).suspend()
    for child in children(own_pool):
        child.suspend()
    assert_all_right(verify(own_pool, *["1"] * 20))


def test_ten_children_that_block_all_signals_delay_nobody_for_long(own_pool):
    start = time.monotonic()
    results = verify(own_pool, *["ignore signals"] * 10, *["1"] * 10)
    assert {result.status for result in results[:10]} == {Status.TIMEOUT}
    assert_all_right(results[10:])
    cpu_time = 10 * LIMITS.timeout / LIMITS.workers
    assert time.monotonic() - start < 10 * cpu_time  # it is CPU time, and others may be at work here


def limit_processes(process, limit):
    """Set how many processes the user of a process may have, as that user."""
    if (pid := os.fork()) == 0:
        os.setresgid(*process.gids())
        os.setresuid(*process.uids())
        resource.prlimit(process.pid, resource.RLIMIT_NPROC, limit)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_fork_may_fail_for_a_while(own_pool):
    if server(own_pool).uids().real == 0:
        pytest.skip("no limit on processes binds root")
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    seen = []

    def fail():
        limit_processes(server(own_pool), (0, most))
        for child in children(own_pool):
            child.kill()
        time.sleep(1.5)
        seen.extend(children(own_pool))
        limit_processes(server(own_pool), (most, most))

    assert_all_right(verify_meanwhile(own_pool, ["work"] * 200, fail))
    assert not seen


def test_a_clock_that_jumps_is_not_looked_at(own_pool, monkeypatch):
    jumps = iter(lambda: random.uniform(-1e9, 1e9), None)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    assert_all_right(verify(own_pool, *["work"] * 50))


def test_a_pool_that_cannot_work_is_an_error_not_a_zero(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(supervisor, "PATIENCE_S", 0.5)
    pool = VerifierPool([TOY], LIMITS)
    with pytest.raises(VerifierPoolError, match="no process for verifiers in"):
        verify(pool, "1")
    monkeypatch.undo()
    assert_all_right(verify(pool, "1"))
    pool.close()


def test_a_closed_pool_fails_what_waits_and_starts_again():
    pool = VerifierPool([TOY], LIMITS)
    threading.Timer(1.0, pool.close).start()
    with pytest.raises(VerifierPoolError, match="was closed"):
        verify(pool, *["sleep"] * 3)
    assert_all_right(verify(pool, "1"))
    pool.close()


def test_a_forgotten_pool_leaves_no_process():
    pool = VerifierPool([QUICK_TOY], LIMITS)
    verify(pool, "1")
    processes = [server(pool), *children(pool)]
    del pool
    gc.collect()
    assert_gone(processes)


@pytest.mark.parametrize("options", [{"path": "/nonexistent.py", "name": "f"}, {"path": __file__, "name": "nothing"}])
def test_a_verifier_that_cannot_be_loaded_is_an_error_not_a_zero(options):
    route = Route("python_function", options)
    pool = VerifierPool([route], PoolLimits(workers=1))
    with pytest.raises(VerifierUnavailableError, match=r"'python_function' cannot be loaded: ValueError"):
        asyncio.run(pool.verify(toy("1", route)))
    pool.close()


def test_the_hostile_corpus_leaves_no_trace():
    """Through the pool and in two orders, each hostile response has the status it should have."""
    pool = VerifierPool([Route(name) for name in {case.verifier for case in CASES}], PoolLimits(workers=2, timeout=5.0))

    async def run(cases):
        tasks = [Task(Route(c.verifier), c.response, c.ground_truth, c.extra_info) for c in cases]
        return await asyncio.gather(*map(pool.verify, tasks))

    results = asyncio.run(run(CASES))
    shuffled = random.Random(0).sample(CASES, len(CASES))
    again = dict(zip([case.name for case in shuffled], asyncio.run(run(shuffled)), strict=True))
    pool.close()
    for case, result in zip(CASES, results, strict=True):
        assert (result.status.value in case.statuses, result.correct) == (True, case.correct), (case.name, result)
        assert again[case.name] == result
    assert not os.path.exists(CANARY)


@pytest.mark.slow
def test_random_kills_lose_nothing(own_pool):
    end = time.monotonic() + 5
    processes = len(psutil.Process().children(recursive=True))  # other tests may have some
    descriptors = psutil.Process().num_fds()

    def kill():
        while time.monotonic() < end:
            time.sleep(0.25)
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                random.choice(children(own_pool)).kill()

    thread = threading.Thread(target=kill)
    thread.start()
    while time.monotonic() < end:
        responses = [random.choice(["1", "2", "work"]) for _ in range(100)]
        results = verify(own_pool, *responses)
        assert [result.correct for result in results] == [response != "2" for response in responses]
        assert {result.status for result in results} == {Status.OK}
    thread.join()
    assert len(psutil.Process().children(recursive=True)) <= processes + 2 + LIMITS.workers
    assert psutil.Process().num_fds() <= descriptors + 2


@pytest.mark.slow
def test_everything_may_be_frozen_for_a_while():
    """The reward worker and all that it has started, as by Ctrl-Z, a debugger or a suspended machine."""
    code = (
        "import sys; sys.path.insert(0, 'tests'); from rewards.test_pool import *;"
        "pool = VerifierPool([TOY, QUICK_TOY], LIMITS); verify(pool, '1'); print('go', flush=True);"
        "assert_all_right(verify(pool, *['work'] * 300)); print('all right')"
    )
    here = Path(__file__).parents[2]
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=here)
    assert worker.stdout.readline() == "go\n"
    tree = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    for process in tree:
        process.suspend()
    time.sleep(10 * LIMITS.timeout)
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):  # the first one may end the others
            process.resume()
    assert worker.communicate(timeout=60)[0] == "all right\n"


@pytest.mark.slow
def test_a_while_without_cpu_loses_no_right_answer(own_pool):
    """At nice 19 beside two busy loops for each core, which leaves less than 1% of a core."""
    server(own_pool).nice(19)
    for child in children(own_pool):
        child.kill()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * os.cpu_count())]

    def stop_after_a_while():
        time.sleep(15)
        for process in busy:
            process.kill()
            process.wait()

    assert_all_right(verify_meanwhile(own_pool, ["work"] * 30, stop_after_a_while))


@pytest.mark.slow
def test_soak_at_a_flat_memory_line():
    """3,000 verifications, 5% hostile: nothing lost, order kept, no leak."""
    hostile = ["spin", "big integer", "much memory", "die", "raise", "try subprocess", "print", "recursion"]
    responses = [hostile[i // 20 % len(hostile)] if i % 20 == 0 else str(i % 2) for i in range(3_000)]
    memory = []
    pool = VerifierPool([QUICK_TOY], LIMITS)

    async def run():
        results = []
        for start in range(0, len(responses), 200):
            results += await asyncio.gather(*(pool.verify(toy(r)) for r in responses[start : start + 200]))
            memory.append(psutil.Process().memory_info().rss)
        return results

    results = asyncio.run(run())
    pool.close()
    for response, result in zip(responses, results, strict=True):
        if response in ("0", "1"):
            assert (result.status, result.correct) == (Status.OK, response == "1")
        elif response != "try subprocess":
            assert not result.correct
    assert max(memory[len(memory) // 2 :]) < 1.1 * max(memory[: len(memory) // 2])


def test_a_lost_cancellation_does_not_keep_the_pool_from_closing(monkeypatch):
    lost = []

    async def slot(_):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append(True)  # as asyncio.wait_for does if its result arrives just then

    monkeypatch.setattr(supervisor.Supervisor, "_slot", slot)
    owner = supervisor.Supervisor([], LIMITS)
    owner.stop()
    assert lost
