"""The lock-down of a child: what Python code is kept from, and what any code is."""

import multiprocessing
import os
import signal

import pytest
from support import toy_reward

from verl_maxpo.rewards.isolation import lockdown


def attempt(connection, action, without_audit_hook):
    if without_audit_hook:
        lockdown.sys.addaudithook = lambda hook: None
    lockdown.lock_down(memory_limit_mb=256)
    lockdown.limit_cpu_time(1.0)
    try:
        outcome = f"done: {toy_reward.ACTIONS[action]()}"
    except BaseException as error:
        outcome = type(error).__name__
    connection.send((outcome, lockdown.take_violations()))


def outcome_of(action, without_audit_hook=False):
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=attempt, args=(there, action, without_audit_hook))
    child.start()
    child.join(30)
    assert child.exitcode is not None
    return (*here.recv(), child.exitcode) if here.poll() else (None, [], child.exitcode)


@pytest.mark.parametrize("action", toy_reward.FORBIDDEN)
def test_python_code_cannot(action):
    outcome, violations, _ = outcome_of(action)
    assert outcome == "PermissionError"
    assert violations
    assert os.path.exists(toy_reward.__file__)
    assert not os.path.exists("/tmp/verl_maxpo_canary")


# As native code would, which no audit hook sees. ctypes is the audit hook's alone: the filter looks at what is called.
@pytest.mark.skipif(not lockdown.has_seccomp(), reason="no libseccomp")
@pytest.mark.parametrize("action", [name for name in toy_reward.FORBIDDEN if name != "ctypes"])
def test_native_code_cannot(action):
    outcome, violations, _ = outcome_of(action, without_audit_hook=True)
    assert outcome == "PermissionError" or outcome == f"done: {127 << 8}"  # what os.system returns without a shell
    assert not violations
    assert not os.path.exists("/tmp/verl_maxpo_canary")


def test_memory_is_limited():
    assert outcome_of("much memory")[0] == "MemoryError"


def test_cpu_time_is_limited():
    assert outcome_of("spin")[2] == -signal.SIGXCPU


def test_the_environment_is_empty():
    assert outcome_of("environment")[0] == "KeyError"


@pytest.mark.parametrize("action", ["print", "thread"])
def test_harmless_things_work(action):
    assert outcome_of(action)[0] == "done: None"


@pytest.mark.parametrize("action", ["big integer", "sleep"])
def test_a_child_ends_with_its_parent(action):
    here, there = multiprocessing.Pipe()
    parent = multiprocessing.get_context("spawn").Process(target=start_and_wait, args=(there, action))
    parent.start()
    child = here.recv()
    assert os.path.exists(f"/proc/{child}")
    parent.kill()
    parent.join()
    for _ in range(100):
        if not is_running(child):
            return
        multiprocessing.connection.wait([], timeout=0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child outlived its parent")


def start_and_wait(connection, action):
    child = multiprocessing.get_context("forkserver").Process(target=lock_and_act, args=(connection, action))
    child.start()
    child.join()


def lock_and_act(connection, action):
    lockdown.lock_down(memory_limit_mb=256)
    lockdown.limit_cpu_time(1.0)
    connection.send(os.getpid())
    toy_reward.ACTIONS[action]()


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
