"""The table of claims: who says it, what was measured, and the verdict that follows from the intervals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from curves import RESULTS, Estimate, best_checkpoint, compare, estimate, rate_text, reported_half, scan_of

Measured = list[tuple[str, Estimate]]


@dataclass(frozen=True)
class Claim:
    """A claim, with differences that are positive if it holds."""

    says: str
    source: str
    command: str
    measure: Callable[[], Measured]

    def verdict(self, measured: Measured) -> str:
        """Return what the intervals say: all above 0, all below 0, or neither."""
        if any(found.seeds == 1 for _, found in measured):
            return f"a hint from one seed: {self._verdict(measured)}"
        return self._verdict(measured)

    def _verdict(self, measured: Measured) -> str:
        above = sum(found.low > 0 for _, found in measured)
        below = sum(found.high < 0 for _, found in measured)
        if not measured:
            return "not tested yet"
        of = f"{{}} of {len(measured)}" if len(measured) > 1 else "{}"
        if above == len(measured):
            return "reproduced"
        if above:
            return f"partly: {of.format(above)} clearly for it, {below} against"
        return f"not reproduced: the opposite in {of.format(below)}" if below else "not reproduced: no clear difference"


def compared(study: str, method: str, other: str, *wanted: tuple[int, str]) -> Measured:
    """Return differences of two methods of a study, none if they share no seed and start."""
    comparison = compare(study)
    if not comparison.blocks(method, other):
        return []
    return [(f"@{k} {when}", comparison.difference(method, other, k, when)) for k, when in wanted]


def less_variance(name: str, baseline: str) -> Measured:
    """Return how much more variance a baseline has than L2O, relative to L2O, in every setting."""
    file = RESULTS / f"{name}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    ratios = [ratio for line in lines for ratio in line.get("ratios", [line])]
    found = [
        one.get("variance") if name == "variance" else one["relative"] for one in ratios if one["baseline"] == baseline
    ]
    return [("", Estimate(mean - 1, low - 1, high - 1, 0)) for mean, low, high in found]


def _variants() -> Measured:
    names = [name for name in compare("hidden_digit").methods if name.startswith("grpo_") and "n16" not in name]
    return [
        (f"{name.removeprefix('grpo_').replace('_', ' ')}, {when}", found)
        for name in names
        for when, found in compared("hidden_digit", "maxpo", name, (8, "best"))
    ]


def _hotter() -> Measured:
    comparison = compare("hidden_digit")
    if not comparison.blocks("maxpo", "grpo"):
        return []
    hottest = max((1.25, 1.5, 2.0), key=lambda t: comparison.values("grpo", 8, "final", t).mean())
    return [
        (f"@{k} final, GRPO at {hottest:g}", comparison.difference("maxpo", "grpo", k, "final", hottest))
        for k in (8, 16)
    ]


def _forgets(study: str, method: str, k: int) -> Measured:
    measured = []
    for rate, run in sorted(scan_of(compare(study).runs, method).items()):
        final = reported_half(run.pass_at_k(k, run.steps[-1]))
        measured.append((rate_text(rate), estimate(best_checkpoint(run, k).reported[None], final[None])))
    return measured


def tuned_for(k: int, study: str) -> Measured:
    """Return how far GRPO is ahead of MaxPO at k if the rate and the step of both are chosen for that k."""
    best = {}
    for method in ("grpo", "maxpo"):
        runs = scan_of(compare(study).runs, method).values()
        best[method] = max((best_checkpoint(run, k) for run in runs), key=lambda checkpoint: checkpoint.validation)
    return [(f"@{k} best", estimate(best["grpo"].reported[None], best["maxpo"].reported[None]))]


SWEEP = "`sweep.py {}`"
LARGER = "hidden_digit_30M"
CLAIMS = (
    Claim(
        "The L2O baseline has less gradient variance than no baseline", "MaxPO, abstract", "`variance.py`",
        lambda: less_variance("variance", "none"),
    ),
    Claim(
        "... than the baseline `loo`", "MaxPO, abstract; PKPO, eq. 29", "`variance.py`",
        lambda: less_variance("variance", "loo"),
    ),
    Claim(
        "... than `loo_minus_one`, the estimator that it starts from by our reading", "MaxPO, abstract; PKPO, eq. 33",
        "`variance.py`", lambda: less_variance("variance", "loo_minus_one"),
    ),
    Claim(
        "... the same in a softmax bandit", "MaxPO, abstract", "`bandit.py`",
        lambda: less_variance("bandit", "loo_minus_one"),
    ),
    Claim(
        "L2O trains better than the non-centred `loo_minus_one`", "MaxPO, abstract", SWEEP.format("hidden_digit"),
        lambda: compared("hidden_digit", "maxpo", "loo_minus_one", (8, "best"), (8, "final"), (16, "final")),
    ),
    Claim(
        "... than the non-centred `loo`", "MaxPO, abstract; PKPO", SWEEP.format("hidden_digit"),
        lambda: compared("hidden_digit", "maxpo", "loo", (8, "best"), (8, "final"), (16, "final")),
    ),
    Claim(
        "Where one guess is not enough, training for the best of 4 beats GRPO at pass@8 and pass@16", "ours",
        SWEEP.format("hidden_digit"),
        lambda: compared("hidden_digit", "maxpo", "grpo", (8, "best"), (8, "final"), (16, "best"), (16, "final")),
    ),
    Claim(
        "... with 30 million parameters too", "ours", SWEEP.format(LARGER),
        lambda: compared(LARGER, "maxpo", "grpo", (8, "best"), (8, "final"), (16, "best"), (16, "final")),
    ),
    Claim(
        "There, GRPO's pass@16 falls while it trains (each learning rate: the best step less the last)", "ours",
        SWEEP.format("hidden_digit"), lambda: _forgets("hidden_digit", "grpo", 16),
    ),
    Claim(
        "... with 30 million parameters too", "ours", SWEEP.format(LARGER), lambda: _forgets(LARGER, "grpo", 16),
    ),
    Claim(
        "MaxPO pays for it at pass@1", "ours", SWEEP.format("hidden_digit"),
        lambda: compared("hidden_digit", "grpo", "maxpo", (1, "best"), (1, "final")),
    ),
    Claim(
        "... if rate and step are chosen by pass@1", "ours", SWEEP.format("hidden_digit"),
        lambda: tuned_for(1, "hidden_digit"),
    ),
    Claim(
        "... with 30 million parameters", "ours", SWEEP.format(LARGER),
        lambda: compared(LARGER, "grpo", "maxpo", (1, "best"), (1, "final")),
    ),
    Claim(
        "... with these, if rate and step are chosen by pass@1", "ours", SWEEP.format(LARGER),
        lambda: tuned_for(1, LARGER),
    ),
    Claim(
        "An entropy bonus, a KL term or a higher temperature in training does not close the gap", "ours",
        SWEEP.format("hidden_digit"), _variants,
    ),
    Claim(
        "Nor does sampling GRPO's model at a higher temperature", "ours", SWEEP.format("hidden_digit"), _hotter,
    ),
    Claim(
        "MaxRL (`all`) beats GRPO at pass@8 and pass@16", "MaxRL, abstract", SWEEP.format("hidden_digit"),
        lambda: compared("hidden_digit", "all", "grpo", (8, "best"), (8, "final"), (16, "best"), (16, "final")),
    ),
    Claim(
        "... with 30 million parameters too", "ours", SWEEP.format(LARGER),
        lambda: compared(LARGER, "all", "grpo", (8, "best"), (8, "final"), (16, "best"), (16, "final")),
    ),
    Claim(
        "MaxRL (`all`) beats GRPO at pass@1", "MaxRL, abstract", SWEEP.format("hidden_digit"),
        lambda: compared("hidden_digit", "all", "grpo", (1, "best"), (1, "final")),
    ),
    Claim(
        "A single k = 4 beats MaxRL (`all`) at pass@8", "ours", SWEEP.format("hidden_digit"),
        lambda: compared("hidden_digit", "maxpo", "all", (8, "best"), (8, "final")),
    ),
    Claim(
        "Going from k = 4 to k = 1 keeps pass@8 and wins back pass@1 (against GRPO)", "PKPO",
        SWEEP.format("hidden_digit"),
        lambda: compared("hidden_digit", "schedule", "grpo", (1, "final"), (8, "final")),
    ),
    Claim(
        "On plain Countdown a tuned GRPO is behind MaxPO at pass@8 and pass@16", "ours", SWEEP.format("countdown"),
        lambda: compared("countdown", "maxpo", "grpo", (8, "best"), (16, "best")),
    ),
    Claim(
        "With graded rewards, max@4 finds better best-of-8 answers than the mean reward", "ours",
        SWEEP.format("closest"), lambda: compared("closest", "max@4", "mean", (8, "best"), (8, "final")),
    ),
    Claim(
        "MaxPO beats GRPO at pass@8 and pass@16 in verl too, with FSDP2 and vLLM", "ours", "`in_verl.sh`",
        lambda: compared("in_verl", "maxpo", "grpo", (8, "final"), (16, "final")),
    ),
    Claim("The same with larger models", "MaxPO, PKPO, MaxRL", "", lambda: []),
)  # fmt: skip


def claims_table() -> str:
    """Return the table of claims."""
    lines = ["| claim | of | command | measured in favour [95%] | verdict |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        measured = claim.measure()
        cells = [claim.says, claim.source, claim.command, _shown(measured), claim.verdict(measured)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(measured: Measured) -> str:
    if measured and not measured[0][0]:  # settings of one study
        means = [found.mean for _, found in measured]
        return f"{min(means):+.2f} to {max(means):+.2f} in {len(measured)} settings"
    shown = "; ".join(f"{name}: {found}" for name, found in measured)
    seeds = min((found.seeds for _, found in measured), default=0)
    return shown + (f" ({seeds} seed{'s' if seeds > 1 else ''})" if measured else "")
