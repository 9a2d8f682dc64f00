"""The table of claims: who says it, what was measured, and the verdict that follows from the intervals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from curves import RESULTS, Metric, compare, rate_text, sample_of, scan_of
from intervals import Estimate, estimate
from studies import STUDIES, Method

Measured = list[tuple[str, Estimate]]


@dataclass(frozen=True)
class Claim:
    """A claim, with differences that are positive if it holds."""

    says: str
    source: str
    study: str
    measure: Callable[[], Measured]

    def verdict(self, measured: Measured) -> str:
        """Return what the intervals say: all above 0, all below 0, or neither."""
        if not measured:
            return "not tested yet"
        above = sum(found.low > 0 for _, found in measured)
        below = sum(found.high < 0 for _, found in measured)
        hint = "a hint from one seed: " if any(found.runs == 1 for _, found in measured) else ""
        if above == len(measured):
            return f"{hint}seen here"
        if above:
            return f"{hint}partly: {above} of {len(measured)} clearly for it, {below} against"
        if not below:
            return f"{hint}not seen here: no clear difference"
        of = f" in {below} of {len(measured)}" if len(measured) > 1 else ""
        return f"{hint}not seen here: the opposite{of}"


def compared(study: str, method: str, other: str, *wanted: tuple[Metric, str], target: Metric = 8) -> Measured:
    """Return differences of two methods, both at their best for the target; none if they share no seed and start."""
    comparison = compare(study, target, method, other)
    if not comparison.blocks(method, other):
        return []
    return [(f"{name_of(k)} {when}", comparison.difference(method, other, k, when)) for k, when in wanted]


def main_method(study: str) -> str:
    """Return the first method of a study's main comparison that has MaxPO's baseline, train.py's default."""
    return next(method.name for method in STUDIES[study].groups[0] if "k" in method.settings and _is_l2o(method))


def _is_l2o(method: Method) -> bool:
    return method.settings.get("estimator", "l2o") == "l2o" and method.settings["k"] != ["all"]


def less_variance(name: str, baseline: str) -> Measured:
    """Return how much more variance a baseline has than L2O, relative to L2O, in every setting."""
    file = RESULTS / f"{name}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    ratios = [ratio for line in lines for ratio in line.get("ratios", [line])]
    found = [
        one.get("variance") if name == "variance" else one["relative"] for one in ratios if one["baseline"] == baseline
    ]
    return [("", Estimate(mean - 1, low - 1, high - 1)) for mean, low, high in found]


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
    hottest = max((1.25, 1.5, 2.0), key=lambda t: comparison.sample("grpo", 8, "final", t).mean)
    return [
        (f"@{k} final, GRPO at {hottest:g}", comparison.difference("maxpo", "grpo", k, "final", hottest))
        for k in (8, 16)
    ]


def _deployed(study: str, method: str, other: str) -> Measured:
    """Compare two methods by what is deployed, both chosen for it."""
    target = STUDIES[study].tuned_for[0]
    return compared(study, method, other, (target, "best"), (target, "final"), target=target)


def _forgets(study: str, method: str, k: int) -> Measured:
    return [
        (rate_text(rate), estimate(sample_of([run], k, k), sample_of([run], k, None)))
        for rate, run in sorted(scan_of(compare(study).runs, method).items())
    ]


def _at_every_rate(study: str, method: str, other: str, k: int) -> Measured:
    """Compare with the other method at each rate at which it shares several runs, not only at its best."""
    comparison = compare(study, 8, method, other)
    measured = []
    for rate in sorted({run.lr for run in comparison.runs if run.method == other}):
        runs = comparison.at_rate(other, rate)
        blocks = {run.block for run in runs} & {run.block for run in comparison.methods.get(method, ())}
        if len(blocks) > 1:
            there = sample_of([run for run in runs if run.block in blocks], k, comparison.target)
            found = estimate(comparison.sample(method, k, "best", blocks=blocks), there)
            measured.append((f"@{k} best, {other} at {rate_text(rate)}", found))
    return measured


def of_study(study: str, method: str, other: str, *wanted: tuple[Metric, str], target: Metric = 8) -> Measured:
    """Compare two methods of a study that there may not be yet; ``l2o`` is its first one with MaxPO's baseline."""
    if study not in STUDIES:
        return []
    first, second = (main_method(study) if name == "l2o" else name for name in (method, other))
    return compared(study, first, second, *wanted, target=target)


LARGER, SMOLLM2 = "hidden_digit_30M", "smollm2_countdown"
BOTH_K = ((8, "best"), (8, "final"), (16, "best"), (16, "final"))
FIRST = ((1, "best"), (1, "final"))
CLAIMS = (
    Claim(
        "The L2O baseline has less gradient variance than no baseline", "MaxPO, abstract", "4",
        lambda: less_variance("variance", "none"),
    ),
    Claim(
        "... than the baseline `loo`", "MaxPO, abstract; PKPO, eq. 29", "4",
        lambda: less_variance("variance", "loo"),
    ),
    Claim(
        "... than `loo_minus_one`, the estimator that it starts from by our reading", "MaxPO, abstract; PKPO, eq. 33",
        "4", lambda: less_variance("variance", "loo_minus_one"),
    ),
    Claim(
        "... the same in a softmax bandit", "MaxPO, abstract", "4, bandit",
        lambda: less_variance("bandit", "loo_minus_one"),
    ),
    Claim(
        "L2O trains better than the non-centred `loo_minus_one`", "MaxPO, abstract", "1",
        lambda: compared("hidden_digit", "maxpo", "loo_minus_one", (8, "best"), (8, "final"), (16, "final")),
    ),
    Claim(
        "... on mazes", "MaxPO, abstract", "6",
        lambda: of_study("maze", "l2o", "loo_minus_one", (8, "best"), (8, "final"), (16, "final")),
    ),
    Claim(
        "... than the non-centred `loo`, on hidden digit", "MaxPO, abstract; PKPO", "1",
        lambda: compared("hidden_digit", "maxpo", "loo", (8, "best"), (8, "final"), (16, "final")),
    ),
    Claim(
        "On hidden digit, training for the best of 4 of 8 responses beats GRPO at pass@8 and pass@16", "ours", "1",
        lambda: compared("hidden_digit", "maxpo", "grpo", *BOTH_K),
    ),
    Claim(
        "... the best of 8 of 16 responses beats GRPO with 16 responses", "ours", "1",
        lambda: compared("hidden_digit", "maxpo_k8_n16", "grpo_n16", *BOTH_K),
    ),
    Claim(
        "... the best of 4 of 8 with 30 million parameters too", "ours", "1, 30M",
        lambda: compared(LARGER, "maxpo", "grpo", *BOTH_K),
    ),
    Claim(
        "GRPO's pass@16 falls while it trains (each learning rate: the best step less the last)", "ours", "1",
        lambda: _forgets("hidden_digit", "grpo", 16),
    ),
    Claim("... with 30 million parameters too", "ours", "1, 30M", lambda: _forgets(LARGER, "grpo", 16)),
    Claim(
        "MaxPO pays for it at pass@1, if both are tuned for pass@8", "ours", "1",
        lambda: compared("hidden_digit", "grpo", "maxpo", *FIRST),
    ),
    Claim(
        "... with 16 responses to a prompt", "ours", "1",
        lambda: compared("hidden_digit", "grpo_n16", "maxpo_k8_n16", *FIRST),
    ),
    Claim("... with 30 million parameters", "ours", "1, 30M", lambda: compared(LARGER, "grpo", "maxpo", *FIRST)),
    Claim(
        "MaxPO pays for it at pass@1, if both are tuned for pass@1", "ours", "1",
        lambda: compared("hidden_digit", "grpo", "maxpo", (1, "best"), target=1),
    ),
    Claim(
        "... with 30 million parameters", "ours", "1, 30M",
        lambda: compared(LARGER, "grpo", "maxpo", (1, "best"), target=1),
    ),
    Claim(
        "GRPO with an entropy bonus, a KL term or a higher temperature, tried at one learning rate each, stays behind",
        "ours", "1", _variants,
    ),
    Claim("GRPO's model sampled at a higher temperature stays behind", "ours", "1", _hotter),
    Claim(
        "MaxRL (`all`) beats GRPO at pass@8 and pass@16", "MaxRL, abstract", "1",
        lambda: compared("hidden_digit", "all", "grpo", *BOTH_K),
    ),
    Claim(
        "... with 30 million parameters too", "ours", "1, 30M", lambda: compared(LARGER, "all", "grpo", *BOTH_K),
    ),
    Claim(
        "MaxRL (`all`) beats GRPO at pass@1, if both are tuned for pass@8", "MaxRL, abstract", "1",
        lambda: compared("hidden_digit", "all", "grpo", *FIRST),
    ),
    Claim(
        "... if both are tuned for pass@1", "MaxRL, abstract", "1",
        lambda: compared("hidden_digit", "all", "grpo", (1, "best"), target=1),
    ),
    Claim(
        "A single k = 4 beats MaxRL (`all`) at pass@8", "ours", "1",
        lambda: compared("hidden_digit", "maxpo", "all", (8, "best"), (8, "final")),
    ),
    Claim(
        "Going from k = 4 to k = 1 wins back pass@1 (against k = 4)", "PKPO", "1",
        lambda: compared("hidden_digit", "schedule", "maxpo", (1, "final")),
    ),
    Claim(
        "... and keeps the lead at pass@8 (against GRPO)", "PKPO", "1",
        lambda: compared("hidden_digit", "schedule", "grpo", (8, "final")),
    ),
    Claim(
        "... and reaches the pass@1 of GRPO, if both are tuned for pass@1", "ours", "1",
        lambda: compared("hidden_digit", "schedule", "grpo", (1, "best"), target=1),
    ),
    Claim(
        "On plain Countdown GRPO is behind MaxPO at pass@8 and pass@16, at each rate with several seeds", "ours",
        "2", lambda: [*_at_every_rate("countdown", "maxpo", "grpo", 8),
                            *_at_every_rate("countdown", "maxpo", "grpo", 16)],
    ),
    Claim(
        "... MaxRL (`all`) beats GRPO there", "MaxRL, abstract", "2",
        lambda: compared("countdown", "all", "grpo", *BOTH_K),
    ),
    Claim(
        "... a single k = 4 beats MaxRL (`all`) at pass@8", "ours", "2",
        lambda: compared("countdown", "maxpo", "all", (8, "best"), (8, "final")),
    ),
    Claim(
        "... MaxPO pays for it at pass@1, if both are tuned for pass@1", "ours", "2",
        lambda: compared("countdown", "grpo", "maxpo", (1, "best"), target=1),
    ),
    Claim(
        "On mazes, training for the best of k beats GRPO at pass@8 and pass@16", "ours", "6",
        lambda: of_study("maze", "l2o", "grpo", *BOTH_K),
    ),
    Claim("... PKPO beats GRPO", "MaxRL", "6", lambda: of_study("maze", "loo_minus_one", "grpo", *BOTH_K)),
    Claim("... MaxRL (`all`) beats GRPO", "MaxRL", "6", lambda: of_study("maze", "all", "grpo", *BOTH_K)),
    Claim("... MaxRL (`all`) beats PKPO", "MaxRL", "6", lambda: of_study("maze", "all", "loo_minus_one", *BOTH_K)),
    Claim(
        "... MaxPO pays for it at pass@1, if both are tuned for pass@1", "ours", "6",
        lambda: of_study("maze", "grpo", "l2o", (1, "best"), target=1),
    ),
    Claim(
        "With SmolLM2-135M on Countdown, training for the best of k beats GRPO at pass@8 and pass@16", "ours", "7",
        lambda: of_study(SMOLLM2, "l2o", "grpo", *BOTH_K),
    ),
    Claim("... MaxRL (`all`) beats GRPO", "MaxRL", "7", lambda: of_study(SMOLLM2, "all", "grpo", *BOTH_K)),
    Claim(
        "... MaxPO pays for it at pass@1, if both are tuned for pass@1", "ours", "7",
        lambda: of_study(SMOLLM2, "grpo", "l2o", (1, "best"), target=1),
    ),
    Claim(
        "With graded rewards, max@4 finds better best-of-8 answers than the mean reward", "ours", "5",
        lambda: compared("closest", "max@4", "mean", (8, "best"), (8, "final")),
    ),
    Claim(
        "Where a biased judge picks one of 4, training for what it keeps beats max@4", "ours", "8, judge",
        lambda: _deployed("judge", "selected@4", "max@4"),
    ),
    Claim("... and beats GRPO", "ours", "8, judge", lambda: _deployed("judge", "selected@4", "grpo")),
    Claim("... max@4 beats GRPO there", "ours", "8, judge", lambda: _deployed("judge", "max@4", "grpo")),
    Claim(
        "Where 4 responses vote and wrong answers agree (hidden digit), training for the vote beats GRPO", "ours",
        "8, vote", lambda: _deployed("vote", "maj@4", "grpo"),
    ),
    Claim("... and beats max@4", "ours", "8, vote", lambda: _deployed("vote", "maj@4", "max@4")),
    Claim(
        "Where 4 responses vote and wrong answers scatter (Countdown), training for the vote beats GRPO", "ours",
        "8, vote", lambda: _deployed("vote_countdown", "maj@4", "grpo"),
    ),
    Claim("... and beats max@4", "ours", "8, vote", lambda: _deployed("vote_countdown", "maj@4", "max@4")),
    Claim(
        "MaxPO beats GRPO at pass@8 and pass@16 in verl too, with FSDP2 and vLLM", "ours", "3",
        lambda: compared("in_verl", "maxpo", "grpo", (8, "final"), (16, "final")),
    ),
    Claim("The same with models of a billion parameters and more", "MaxPO, PKPO, MaxRL", "", lambda: []),
)  # fmt: skip


def claims_table() -> str:
    """Return the table of claims."""
    lines = ["| claim | study | measured in favour [95%] | verdict |", "|---|---|---|---|"]
    for claim in CLAIMS:
        measured = claim.measure()
        cells = [f"{claim.says} ({claim.source})", claim.study, _shown(measured), claim.verdict(measured)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(measured: Measured) -> str:
    if measured and not measured[0][0]:  # settings of one study
        means = [found.mean for _, found in measured]
        return f"{min(means):+.2f} to {max(means):+.2f} in {len(measured)} settings"
    return "; ".join(f"{name}: {found}" for name, found in measured) + _rests_on(measured)


def _rests_on(measured: Measured) -> str:
    if not measured:
        return ""
    runs, starts = (span([getattr(found, name) for _, found in measured]) for name in ("runs", "starts"))
    return f" ({plural(runs, 'run')}, {plural(starts, 'start')})"


def name_of(metric: Metric) -> str:
    """Return how the tables call pass@k, @8, or what is deployed, selected@4."""
    return metric if isinstance(metric, str) else f"@{metric}"


def span(numbers: Sequence[int], dash: str = "-") -> str:
    """Return the smallest and the largest of some numbers, 3-5, or the one that they all are."""
    return dash.join(map(str, dict.fromkeys((min(numbers), max(numbers)))))


def plural(count: object, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count} {noun}" + ("" if str(count) == "1" else "s")
