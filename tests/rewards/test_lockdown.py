"""The lock-down: what native code in a child cannot do, through all layers and through each of them alone."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import escapes, toy_reward

from verl_maxpo.rewards.config import PoolLimits
from verl_maxpo.rewards.isolation import landlock, libc, lockdown, namespaces
from verl_maxpo.rewards.isolation.messages import Layer, Setup
from verl_maxpo.rewards.isolation.pool import Task, VerifierPool, probe_layers
from verl_maxpo.rewards.isolation.processes import ENVIRONMENT, Server, ServerError
from verl_maxpo.rewards.isolation.system_calls import CallFilter
from verl_maxpo.rewards.routing import Route

TOY = Route("python_function", {"path": toy_reward.__file__, "name": "compute_score"}, keeps_state=False)
ESCAPES = [
    *(("process", name) for name in escapes.TO_A_PROCESS),
    *(("file", name) for name in escapes.TO_A_FILE),
    *(("machine", name) for name in escapes.TO_THE_MACHINE),
]
LAYERS = {layer.name: layer.present for layer in probe_layers()}


def needs(*layers):
    missing = [layer for layer in layers if not LAYERS[layer]]
    return pytest.mark.skipif(bool(missing), reason=f"missing here: {', '.join(missing)}")


@pytest.fixture(scope="module")
def pool():
    os.environ["VERL_MAXPO_TOKEN"] = "secret"
    pool = VerifierPool([TOY], PoolLimits(workers=1, timeout=5.0, memory_limit_mb=192))
    yield pool
    pool.close()
    del os.environ["VERL_MAXPO_TOKEN"]


@pytest.fixture
def victim():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        assert process.poll() is None, "the victim has died"
        process.kill()


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("token")
    path.chmod(0o644)
    yield path
    assert path.read_text() == "token"
    assert os.listdir(tmp_path) == ["secret"]


def verify(pool, response):
    return asyncio.run(pool.verify(Task(TOY, response, "1", {})))


def in_a_fork(act):
    """Return what a function returns, or the name of what it raises, in a process of its own."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            outcome = repr(act())
        except BaseException as error:
            outcome = type(error).__name__
        os.write(writer, outcome.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        outcome = file.read()
    os.waitpid(pid, 0)
    return outcome


@pytest.mark.parametrize(("kind", "name"), ESCAPES)
def test_native_code_in_a_child_cannot(pool, kind, name, victim, secret):
    before = psutil.Process(victim.pid).nice(), psutil.Process(victim.pid).cpu_affinity()
    result = verify(pool, f"escape|{kind}|{name}|{victim.pid if kind == 'process' else secret}")
    assert result.answer, result
    assert set(result.answer.split(",")) == {"-1"}
    assert (psutil.Process(victim.pid).nice(), psutil.Process(victim.pid).cpu_affinity()) == before


#: What the filter lets pass, since a path or an open file is all that makes it harmful: other layers are for that.
READING = ("read", "environ", "mem", "own environment", "own memory", "process 1", "inherited descriptors")


@needs("system calls")
@pytest.mark.parametrize(("kind", "name"), [escape for escape in ESCAPES if escape[1] not in READING])
def test_the_filter_of_system_calls_alone_refuses(kind, name, victim, secret):
    target = str(victim.pid if kind == "process" else secret)
    calls = CallFilter()

    def act():
        calls.apply()
        return set(escapes.escape(kind, name, target))

    assert in_a_fork(act) == "{-1}"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("process", name) for name in ("kill", "prlimit64", "setpriority", "environ")),
        *(("file", name) for name in ("read", "write", "mkdir")),
        *(("machine", name) for name in ("socket", "own environment", "own memory")),
    ],
)
def test_without_the_lockdown_the_escapes_work(kind, name, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("token")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as victim:
        target = str(victim.pid if kind == "process" else secret)
        outcome = in_a_fork(lambda: max(escapes.escape(kind, name, target)) >= 0)
        victim.kill()
    assert outcome == "True"


def test_landlock_alone_hides_files(secret):
    if not LAYERS["landlock"]:
        pytest.skip("no Landlock")
    readable, listable = lockdown.readable_paths()

    def act():
        libc.gain_no_privileges()
        landlock.restrict(readable, listable)
        hidden = [secret, Path("/etc/passwd"), Path("/proc/self/environ"), Path("/proc/self/mem")]
        return [os.open(os.__file__, os.O_RDONLY) > 0, *(escapes.escape("file", "read", str(path)) for path in hidden)]

    assert in_a_fork(act) == "[True, [-1], [-1], [-1], [-1]]"


@needs("private root, no network")
def test_the_private_root_alone_hides_files_and_processes(secret, victim):
    readable, _ = lockdown.readable_paths()

    def act():
        if os.geteuid() != 0:
            namespaces._enter_user_namespace(0)
        namespaces.enter_private_root(readable)
        hidden = [secret, Path("/etc/passwd"), Path(f"/proc/{victim.pid}/environ"), Path("/proc/self/environ")]
        return [
            os.open(os.__file__, os.O_RDONLY) > 0,
            *(escapes.escape("file", "read", str(path)) for path in hidden),
            escapes.escape("file", "create", "/x"),
            escapes.escape("file", "write", os.__file__),
        ]

    assert in_a_fork(act) == "[True, [-1], [-1], [-1], [-1], [-1], [-1]]"


@needs("process namespace")
def test_the_process_namespace_alone_hides_processes(victim):
    def act():
        if pid := namespaces.enter_process_namespace():
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os._exit(10 + sum(escapes.escape("process", "kill", str(victim.pid))))

    assert in_a_fork(act) == "9"


def test_a_child_has_one_connection_no_privileges_and_no_token(pool):
    verify(pool, "1")
    (child,) = pool._supervisor._children
    folder = Path(f"/proc/{child._process.pid}")
    files = {path.name: os.readlink(path) for path in (folder / "fd").iterdir()}
    connection = files.pop(str(lockdown.CONNECTION))
    assert connection.startswith("socket:")
    assert files == dict.fromkeys("012", "/dev/null")
    status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1"
    assert {int(status[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert status["Seccomp"] == ("2" if LAYERS["system calls"] else "0")
    if LAYERS["unprivileged user"] and os.geteuid() == 0:
        assert status["Uid"].split() == ["65534"] * 4
    assert b"secret" not in (folder / "environ").read_bytes()
    assert b"VERL_MAXPO_TOKEN" not in (folder / "environ").read_bytes()
    assert not "VERL_MAXPO_TOKEN".startswith(ENVIRONMENT)


def test_modules_can_still_be_imported(pool):
    result = verify(pool, "import")
    assert (result.status.value, result.refused) == ("ok", ())


def test_packages_next_to_a_project_are_readable_and_its_other_files_are_not(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    for name in ("package/__init__.py", "module.py", "token.txt", ".env"):
        (tmp_path / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    readable, listable = lockdown.readable_paths()
    assert {path.name for path in readable if tmp_path in path.parents} == {"package", "module.py"}
    assert tmp_path in listable


def test_memory_is_limited(pool):
    assert verify(pool, "much memory").message.startswith("MemoryError")


def test_cpu_time_is_limited_without_the_reward_worker():
    def act():
        lockdown.Lockdown(256, 0.0)._limit_resources()
        toy_reward.spin()

    started = time.monotonic()
    assert in_a_fork(act) == ""
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("action", ["big integer", "sleep"])
def test_a_child_ends_with_the_reward_worker(action):
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from rewards.test_lockdown import *\n"
        "import threading\n"
        "pool = VerifierPool([TOY], PoolLimits(workers=1, timeout=60.0)); verify(pool, '1')\n"
        "threading.Thread(target=verify, args=(pool, sys.argv[1]), daemon=True).start()\n"
        "time.sleep(0.5); print('go', flush=True); time.sleep(60)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, action], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert worker.stdout.readline() == b"go\n"
    children = psutil.Process(worker.pid).children(recursive=True)
    assert len(children) >= 2
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    assert not psutil.wait_procs(children, timeout=10)[1]


def test_a_missing_layer_is_reported_with_its_reason():
    def fail():
        raise OSError(38, "Function not implemented")

    lock = lockdown.Lockdown(256, 1.0)
    lock._try("landlock", fail)
    assert lock.layers == [Layer("landlock", False, "[Errno 38] Function not implemented")]


def test_a_child_that_cannot_lock_itself_down_never_sees_a_response():
    async def fork():
        server = await Server.start(Setup((), memory_limit_mb=256, cpu_limit_s=float("nan")))
        try:
            await server.fork()
        finally:
            server.kill()

    with pytest.raises(ServerError, match="could not lock itself down"):
        asyncio.run(fork())
