"""Programs go to a Sandbox Fusion service, here a stand-in that answers as its API does, and nowhere else."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("verl")

from verl_maxpo.rewards.adapters.sandbox_fusion import SandboxFusion
from verl_maxpo.rewards.config import VerifierConfig
from verl_maxpo.rewards.result import Status
from verl_maxpo.rewards.scoring import ResponseScorer

CASES = json.dumps({"inputs": ["1", "2"], "outputs": ["1", "4"]})


class Service(BaseHTTPRequestHandler):
    """Answers a program that says "square" or "echo" as if it had run it; is broken for any other."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        number = int(request["stdin"])
        known = {"square": number**2, "echo": number}
        output = next((value for word, value in known.items() if word in request["code"]), None)
        run = {"status": "Finished", "stdout": f"{output}\n", "stderr": "", "return_code": 0}
        self.send_response(500 if output is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"status": "Success", "run_result": run, "compile_result": None}).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def verify(url, *responses, cases=CASES):
    config = VerifierConfig(data_sources=("codecontests",))
    scorer = ResponseScorer(config, SandboxFusion.of({"url": url, "max_concurrent": 4, "memory_limit_mb": 99}))

    async def run():
        return await asyncio.gather(*(scorer.verify("codecontests", response, cases, {}) for response in responses))

    return asyncio.run(run())


def program(word):
    return f"Here:\n```python\n# {word}\n```"


def test_score_is_the_fraction_of_cases(service):
    url = f"http://127.0.0.1:{service.server_port}/run_code"
    right, half, none = verify(url, program("square"), program("echo"), "I cannot")
    assert (right.score, right.correct, right.status) == (1.0, True, Status.OK)
    assert (half.score, half.correct, half.status) == (0.5, False, Status.OK)
    assert (none.score, none.status) == (0.0, Status.NO_ANSWER)
    assert {request["memory_limit_MB"] for request in service.requests} == {99}


@pytest.mark.parametrize("cases", ["not JSON", json.dumps({"inputs": ["1"]})])
def test_ill_formed_cases_are_no_verdict(service, cases):
    (result,) = verify(f"http://127.0.0.1:{service.server_port}/run_code", program("square"), cases=cases)
    assert result.status is Status.CRASH


def test_a_broken_service_is_no_verdict(service):
    (result,) = verify(f"http://127.0.0.1:{service.server_port}/run_code", program("trouble"))
    assert result.status is Status.CRASH
    assert "Sandbox Fusion at http://127.0.0.1" in result.message


def test_no_service_is_an_error_before_anything_runs():
    assert SandboxFusion.of({"url": None}) is None
    with pytest.raises(ValueError, match=r"set reward\.sandbox_fusion\.url"):
        verify(None, program("square"))
