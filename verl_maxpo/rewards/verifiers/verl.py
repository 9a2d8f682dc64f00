"""verl's own scorer for a data source, called by ``default_compute_score``.

Only scorers that read a response as text are run. The others execute it and are refused: ``prime_code`` runs programs;
``prime_math`` and ``mathruler``, to which ``geo3k`` goes, use ``eval`` or SymPy's ``parse_expr``, which is eval too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verl.utils.reward_score import default_compute_score

from verl_maxpo.rewards.result import Status, VerifierResult, reject
from verl_maxpo.rewards.verifiers.scores import to_result

MAX_LENGTH = 1_000_000

keeps_state = False  # one response does not change the verdict on the next

_TEXT = ("openai/gsm8k", "lighteval/MATH", "DigitalLearningGmbH/MATH-lighteval", "HuggingFaceH4/MATH-500")
_SIGNED = ("math", "math_dapo", "math_dapo_reasoning")  # scores of 1 and -1
_CODE = ("codecontests", "apps", "codeforces", "taco")


def verify(response: str, ground_truth: Any, extra_info: Mapping[str, Any]) -> VerifierResult:
    """Score a response as verl does for ``data_source`` of ``extra_info``, on a scale from 0 to 1.

    Raises:
        ValueError: verl has no scorer for the data source, or one that executes responses.
    """
    source = extra_info.get("data_source")
    signed = isinstance(source, str) and (source in _SIGNED or source.startswith("aime"))
    if not signed and not (isinstance(source, str) and (source in _TEXT or source.startswith("searchR1_"))):
        raise ValueError(_refusal(source))
    if len(response) > MAX_LENGTH:
        return reject(Status.REFUSED, f"a response of more than {MAX_LENGTH} characters")
    outcome = default_compute_score(source, response, ground_truth, extra_info)
    return to_result(outcome, (-1.0, 1.0) if signed else (0.0, 1.0))


def examples(ground_truth: Any, extra_info: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return a right and a wrong response, for the check of a data set."""
    source = str(extra_info.get("data_source"))
    if source.startswith("searchR1_"):
        return f"<answer>{ground_truth['target'][0]}</answer>", "<answer></answer>"
    forms = {"openai/gsm8k": "#### {}", **dict.fromkeys(_TEXT[1:], "\\boxed{{{}}}")}
    form = forms.get(source, "Answer: {}")
    return form.format(ground_truth), form.format("-271828.1828")


def _refusal(source: object) -> str:
    if source in _CODE:
        return f"verl's scorer for {source!r} executes programs in this process: route it to a sandbox service"
    if (isinstance(source, str) and source.startswith("numina_")) or source == "hiyouga/geometry3k":
        return f"verl's scorer for {source!r} evaluates responses as Python: use the verifier math"
    return f"verl has no scorer known to be safe for extra_info['data_source'] = {source!r}: name another verifier"
