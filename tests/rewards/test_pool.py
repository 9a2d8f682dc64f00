"""The pool: nothing hangs, nothing is lost, and a death is a recount or a counted crash."""

import asyncio
import os
import signal
import time

import psutil
import pytest
from support import toy_reward
from support.hostile import CANARY, CASES

from verl_maxpo.rewards.config import PoolLimits
from verl_maxpo.rewards.isolation.child import Task, VerifierUnavailableError
from verl_maxpo.rewards.isolation.pool import VerifierPool, VerifierPoolError
from verl_maxpo.rewards.result import Status
from verl_maxpo.rewards.routing import Route

TOY = Route("python_function", {"path": toy_reward.__file__, "name": "compute_score"})


@pytest.fixture(scope="module")
def pool():
    """A pool for the tests that leave it as it was; asyncio.Semaphore takes any loop as long as nobody waits."""
    pool = VerifierPool([TOY], PoolLimits(workers=2, timeout=1.0, memory_limit_mb=192))
    yield pool
    pool.close()
    assert not children()


@pytest.fixture
def own_pool():
    before = len(children())
    pool = VerifierPool([TOY], PoolLimits(workers=2, timeout=1.0, memory_limit_mb=192))
    yield pool
    assert len(children()) <= before + 2
    pool.close()


def children():
    """The pool's processes."""
    return forked()[1:]


def forked():
    """The server, and what it has forked."""
    living = [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in living if "forkserver" in " ".join(child.cmdline())]


def toy(response, ground_truth="1"):
    return Task(TOY, response, ground_truth, {"data_source": "toy"})


def verify(pool, *responses):
    async def gather():
        return await asyncio.gather(*(pool.verify(toy(response)) for response in responses))

    return asyncio.run(gather())


@pytest.mark.parametrize(
    ("action", "status"),
    [
        *((action, Status.TIMEOUT) for action in ("spin", "sleep", "big integer")),
        *((action, Status.CRASH) for action in ("memory", "raise", "exit", "recursion", "die", "segfault")),
        *((action, Status.CRASH) for action in ("nan", "out of range", "ignore signals")),
        *((action, Status.REFUSED) for action in toy_reward.FORBIDDEN),
    ],
)
def test_trouble_has_a_status_and_costs_no_other_response(pool, action, status):
    right, trouble, wrong, also_right = verify(pool, "1", action, "2", "1")
    assert trouble.status is status
    assert (trouble.score, trouble.correct) == (0.0, False)
    assert trouble.message
    assert [right.score, wrong.score, also_right.score] == [1.0, 0.0, 1.0]
    assert not os.path.exists("/tmp/verl_maxpo_canary")


def test_order_is_kept(own_pool):
    results = verify(own_pool, *("1" if i % 3 else "2" for i in range(500)))
    assert [result.correct for result in results] == [bool(i % 3) for i in range(500)]


def test_the_event_loop_stays_free(own_pool):
    async def longest_pause():
        work = asyncio.gather(*(own_pool.verify(toy("1")) for _ in range(2000)))
        longest, before = 0.0, time.monotonic()
        while not work.done():
            await asyncio.sleep(0.001)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        return longest

    assert asyncio.run(longest_pause()) < 0.5  # 2000 verifications take a second or so


def test_few_tasks_are_handed_over_at_a_time(own_pool):
    async def most_in_flight():
        work = asyncio.gather(*(own_pool.verify(toy("1")) for _ in range(300)))
        most = 0
        while not work.done():
            await asyncio.sleep(0)
            most = max(most, len(own_pool._pool._pool_manager.task_manager.tasks) if own_pool._pool else 0)
        return most

    assert 0 < asyncio.run(most_in_flight()) <= 8


def test_killed_children_cost_no_verdict(own_pool):
    async def run():
        work = asyncio.gather(*(own_pool.verify(toy("1" if i % 2 else "2")) for i in range(1500)))
        await own_pool.verify(toy("1"))
        for _ in range(3):
            await asyncio.sleep(0.1)
            for child in children()[:1]:
                child.kill()
        return await work

    results = asyncio.run(run())
    assert [result.correct for result in results] == [bool(i % 2) for i in range(1500)]
    assert {result.status for result in results} == {Status.OK}


def test_a_pool_killed_while_idle_comes_back(own_pool, caplog):
    assert verify(own_pool, "1")[0].correct
    for child in children():
        child.send_signal(signal.SIGKILL)
    time.sleep(0.5)
    assert asyncio.run(own_pool.verify(toy("1"))).correct
    assert "replacing the pool of verifiers" in caplog.text or children()


def test_a_killed_server_comes_back(own_pool):
    assert verify(own_pool, "1")[0].correct
    for process in reversed(forked()):
        process.kill()
    assert asyncio.run(own_pool.verify(toy("1"))).correct


def test_a_pool_that_cannot_work_is_an_error_not_a_zero(own_pool, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no more processes")

    monkeypatch.setattr("pebble.ProcessPool.schedule", broken)
    with pytest.raises(VerifierPoolError, match="no more processes"):
        verify(own_pool, "1")


@pytest.mark.parametrize("options", [{"path": "/nonexistent.py", "name": "f"}, {"path": __file__, "name": "nothing"}])
def test_a_verifier_that_cannot_be_loaded_is_an_error_not_a_zero(options):
    route = Route("python_function", options)
    pool = VerifierPool([route], PoolLimits(workers=1))
    with pytest.raises(VerifierUnavailableError, match=r"'python_function' cannot be loaded \(ValueError"):
        asyncio.run(pool.verify(toy("1")._replace(route=route)))
    pool.close()


@pytest.mark.slow
def test_soak_at_a_flat_memory_line():
    """10,000 verifications, 5% hostile: nothing lost, order kept, no leak."""
    hostile = ["spin", "big integer", "much memory", "die", "raise", "subprocess", "print", "recursion"]
    responses = [hostile[i // 20 % len(hostile)] if i % 20 == 0 else str(i % 2) for i in range(10_000)]
    memory = []
    pool = VerifierPool([TOY], PoolLimits(workers=2, timeout=0.5, memory_limit_mb=192))

    async def run():
        results = []
        for start in range(0, len(responses), 500):
            results += await asyncio.gather(*(pool.verify(toy(r)) for r in responses[start : start + 500]))
            memory.append(psutil.Process().memory_info().rss + sum(c.memory_info().rss for c in children()))
        return results

    results = asyncio.run(run())
    pool.close()
    assert len(results) == len(responses)
    for response, result in zip(responses, results, strict=True):
        if response in ("0", "1"):
            assert (result.status, result.correct) == (Status.OK, response == "1")
        else:
            assert not result.correct
    assert max(memory[len(memory) // 2 :]) < 1.2 * max(memory[: len(memory) // 2])


def test_the_hostile_corpus_costs_no_child_too_many():
    """Through the pool, each hostile response has the status it should have, and the right ones keep their score."""
    pool = VerifierPool([Route(name) for name in {case.verifier for case in CASES}], PoolLimits(workers=2, timeout=5.0))

    async def run():
        tasks = [Task(Route(c.verifier), c.response, c.ground_truth, c.extra_info) for c in CASES]
        return await asyncio.gather(*map(pool.verify, tasks))

    results = asyncio.run(run())
    pool.close()
    for case, result in zip(CASES, results, strict=True):
        assert (result.status.value in case.statuses, result.correct) == (True, case.correct), (case.name, result)
    assert not os.path.exists(CANARY)
