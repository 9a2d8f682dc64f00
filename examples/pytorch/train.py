"""Train a small language model for the best of K: MaxPO in one file of plain PyTorch, without verl.

    start=examples/quickstart/start/hidden_digit-335k-seed0
    python examples/pytorch/train.py --task hidden_digit --model $start --k 4 --out outputs/maxpo

Each step samples n responses to some prompts, scores them, turns the rewards of each prompt into advantages and makes
one update; being on-policy, it needs neither a ratio nor clipping. ``OUT/log.jsonl`` holds the settings, then for every
evaluation the number of right samples of every held-out problem. A run that was stopped goes on where it was. The tasks
are in tasks.py; any causal language model of transformers can learn them.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tasks import NAMES, Problem, make_task
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from verl_maxpo import (
    maj_at_k,
    maj_at_k_advantages,
    max_at_k,
    max_at_k_advantages,
    selected_at_k,
    selected_at_k_advantages,
)

#: A judge's score is the reward, this for a response of the form that it likes, right or wrong, and normal noise.
JUDGE_BIAS, JUDGE_NOISE = 1.5, 0.3
#: What an evaluation of the starting model depends on.
EVALUATED = ("model", "task", "size", "data", "held_out", "samples", "rows", "length", "deployed", "bf16")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def advantages(rewards: Tensor, estimator: str, k: list[str], select_by: str = "reward", chosen: Any = None) -> Tensor:
    """Turn rewards ``[prompts, n]`` into advantages.

    ``estimator`` is grpo, rloo, or a baseline of max@k. With a baseline, one of k may be chosen by a judge or by vote:
    ``chosen`` has scores or answers, in the shape of the rewards.
    """
    mean, n = rewards.mean(dim=1, keepdim=True), rewards.shape[1]
    if estimator == "grpo":
        return (rewards - mean) / (rewards.std(dim=1, keepdim=True) + 1e-6)
    if estimator == "rloo":
        return (rewards - mean) * n / (n - 1)
    if select_by != "reward":
        of_rule = selected_at_k_advantages if select_by == "judge" else maj_at_k_advantages
        return of_rule(rewards, chosen, [int(one) for one in k])
    # "all" is every max@k, weighted 1/k: for 0/1 rewards MaxRL's (g - mean) / mean
    return max_at_k_advantages(rewards, "all" if k == ["all"] else [int(one) for one in k], baseline=estimator)


def in_rows(values: Sequence[Any], length: int) -> list[list[Any]]:
    """Return values as rows of a length."""
    return [list(values[i : i + length]) for i in range(0, len(values), length)]


class Prompts(NamedTuple):
    """Tokens of prompts, padded on the left, and 1 where they are not padding, ``[prompts, length]`` each."""

    tokens: Tensor
    mask: Tensor

    def at(self, rows: Tensor | slice) -> Prompts:
        """Return some of them."""
        return Prompts(self.tokens[rows], self.mask[rows])


class Policy:
    """A language model that reads a prompt once for all the responses to it."""

    def __init__(self, folder: str, device: str = DEVICE, bf16: bool = False) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.end, self.bf16 = self.tokenizer.eos_token_id, bf16

    def check(self, problem: Problem) -> None:
        """Refuse a model whose tokenizer does not know the task."""
        for text in (problem.prompt, problem.solution):
            read = self.tokenizer.decode(self.tokenizer(text, add_special_tokens=False).input_ids)
            if read != text:
                raise SystemExit(f"--model has a tokenizer that reads {text!r} as {read!r}: it is not for this --task")

    def encode(self, problems: Sequence[Problem]) -> Prompts:
        """Return the prompts of problems, each as a user's message in the model's template."""
        chats = [[{"role": "user", "content": problem.prompt}] for problem in problems]
        texts = self.tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        given = self.tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        return Prompts(given.input_ids.to(self.model.device), given.attention_mask.to(self.model.device))

    def decode(self, responses: Tensor) -> list[str | None]:
        """Return the texts of responses up to their end; None for those that have no end."""
        rows = responses.tolist()
        texts = self.tokenizer.batch_decode([row[: row.index(self.end)] if self.end in row else [] for row in rows])
        return [text if self.end in row else None for row, text in zip(rows, texts, strict=True)]

    def read(self, prompts: Prompts, owners: Tensor, temperature: float) -> tuple[Tensor, DynamicCache]:
        """Read each prompt once; return logits and cache after it, repeated for every response.

        Args:
            prompts: The prompts.
            owners: Which prompt each response belongs to, ``[responses]``.
            temperature: Of sampling, which divides the logits.
        """
        cache, positions = DynamicCache(), (prompts.mask.cumsum(dim=1) - 1).clamp(min=0)
        where = {"attention_mask": prompts.mask, "position_ids": positions, "past_key_values": cache}
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.model(prompts.tokens, **where, logits_to_keep=1).logits[:, -1]
        cache.batch_select_indices(owners)  # gradients flow through it
        return logits[owners].to(self.model.dtype) / temperature, cache

    def read_on(self, prompts: Prompts, owners: Tensor, tokens: Tensor, cache: DynamicCache, done: int = 0) -> Tensor:
        """Read tokens of responses, ``[responses, length]``, after the prompts and ``done`` tokens; return logits."""
        mask, length = prompts.mask[owners], tokens.shape[1]
        positions = mask.sum(dim=1, keepdim=True) + torch.arange(done, done + length, device=mask.device)
        mask = torch.cat([mask, mask.new_ones(len(mask), done + length)], dim=1)
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
            given = self.model(tokens, attention_mask=mask, position_ids=positions, past_key_values=cache)
        logits: Tensor = given.logits.to(self.model.dtype)
        return logits

    @torch.no_grad()
    def sample(self, prompts: Prompts, n: int, length: int, temperature: float, generator: torch.Generator) -> Tensor:
        """Draw n responses to each prompt, ``[prompts * n, length]`` or less if all of them end before."""
        owners = torch.arange(len(prompts.tokens), device=prompts.tokens.device).repeat_interleave(n)
        logits, cache = self.read(prompts, owners, temperature)
        responses = torch.full((len(owners), length), self.end, device=owners.device)
        going, done = torch.arange(len(owners), device=owners.device), 0
        while done < length and len(going):
            if done:
                last = responses[going, done - 1, None]
                logits = self.read_on(prompts, owners[going], last, cache, done - 1)[:, -1] / temperature
            responses[going, done] = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
            kept = (responses[going, done] != self.end).nonzero()[:, 0]
            if len(kept) < len(going):  # what has ended is read no longer
                cache.batch_select_indices(kept)
                going = going[kept]
            done += 1
        return responses[:, :done]

    def log_probs(
        self, prompts: Prompts, owners: Tensor, responses: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Return the log-probability of each token and the entropy at its place, ``[responses, length]`` each."""
        first, cache = self.read(prompts, owners, temperature)
        logits = first[:, None]
        if responses.shape[1] > 1:
            rest = self.read_on(prompts, owners, responses[:, :-1], cache) / temperature
            logits = torch.cat([logits, rest], dim=1)
        log_probs = logits.log_softmax(-1)
        return log_probs.gather(-1, responses[..., None])[..., 0], -(log_probs.exp() * log_probs).sum(-1)

    def mask(self, responses: Tensor) -> Tensor:
        """Return 1 for the tokens of responses up to and including their end, 0 beyond it."""
        ends: Tensor = responses == self.end
        return (ends.cumsum(dim=1) - ends.long() == 0).float()


class Trainer:
    """One run."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.policy, self.step = args, Policy(args.model, bf16=args.bf16), 0
        self.start = Policy(args.model, bf16=args.bf16) if args.kl else None
        options = {name: getattr(args, name) for name in ("size", "data", "train", "held_out", "seed")}
        self.task = make_task(args.task, **options)
        self.policy.check(self.task.held_out[0][0])
        if "judge" in (args.select_by, args.deployed) and not self.task.liked:
            raise SystemExit(f"--task {args.task} has no judge: countdown, hidden_digit and closest have one")
        if args.select_by != "reward" and args.estimator != "l2o":
            raise SystemExit(f"--select-by {args.select_by} needs --estimator l2o, got {args.estimator}")
        if args.start_log and not args.start_log.is_file():
            raise SystemExit(f"--start-log {args.start_log} is not there: give the log.jsonl of another run")
        self.length = args.length or self.task.length
        self.optimizer = torch.optim.AdamW(self.policy.model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
        self.rng, self.generator = random.Random(args.seed), torch.Generator(DEVICE).manual_seed(args.seed)

    def answers(self, prompts: Prompts, n: int, temperature: float, generator: torch.Generator) -> tuple[Tensor, Any]:
        """Sample some prompts at a time; return all responses and their texts, None where the limit cut them off."""
        parts = torch.split(torch.arange(len(prompts.tokens)), max(1, self.args.rows // n))
        given = [self.policy.sample(prompts.at(p), n, self.length, temperature, generator) for p in parts]
        longest = max(part.shape[1] for part in given)
        padded = [torch.nn.functional.pad(p, (0, longest - p.shape[1]), value=self.policy.end) for p in given]
        responses = torch.cat(padded)
        return responses, self.policy.decode(responses)

    def worth(self, problem: Problem, answer: str | None) -> float:
        """Return the reward of an answer, 0 if it was cut off."""
        return 0.0 if answer is None else self.task.reward(problem, answer)

    def scored(
        self, problem: Problem, texts: list[str | None], by: str, noise: random.Random
    ) -> tuple[list[float], Any]:
        """Return the rewards of several responses to a problem, and what one is chosen by: judge's scores, or votes."""
        rewards = [self.worth(problem, text) for text in texts]
        if by == "vote":
            return rewards, [None if text is None else self.task.answer(problem, text) for text in texts]
        likes = self.task.liked if by == "judge" else None
        liked = [text is not None and likes is not None and likes(text) for text in texts]
        biased = [r + JUDGE_BIAS * one for r, one in zip(rewards, liked, strict=True)]
        return rewards, [score + noise.gauss(0, JUDGE_NOISE) for score in biased]

    def update(self) -> dict[str, float]:
        """Sample, score, make one update and return what happened."""
        args, policy = self.args, self.policy
        asked = self.task.draw(self.rng, self.step, args.prompts)
        prompts = policy.encode(asked)
        responses, texts = self.answers(prompts, args.n, args.temperature, self.generator)
        noise = random.Random(f"{args.seed} {self.step}")  # of its own: all methods draw the same prompts
        given = zip(asked, in_rows(texts, args.n), strict=True)
        scored, chosen = zip(*[self.scored(problem, row, args.select_by, noise) for problem, row in given], strict=True)
        rewards = torch.tensor(scored, device=DEVICE)
        k = args.then_k if args.switch_step and self.step >= args.switch_step else args.k
        advantage = advantages(rewards, args.estimator, k, args.select_by, list(chosen))
        mask = policy.mask(responses)
        self.optimizer.param_groups[0]["lr"] = args.lr * min(1, (self.step + 1) / 5)
        self.optimizer.zero_grad()
        rows = ((advantage.view(-1) != 0) | bool(args.entropy or args.kl)).nonzero()[:, 0]  # others have no gradient
        if len(rows):
            for part in torch.split(rows, args.update_rows):
                torch.autograd.backward(self.loss(prompts, responses, advantage.view(-1, 1), mask, part))
            torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
            self.optimizer.step()
        self.step += 1
        means = {"reward": rewards, "signal": advantage.any(dim=1), "solved": (rewards == 1).any(dim=1)}
        means |= {"ended": (responses == policy.end).any(dim=1), "length": mask.sum(dim=1)}
        return {name: value.float().mean().item() for name, value in means.items()}

    def loss(self, prompts: Prompts, responses: Tensor, advantage: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        """Return what some responses add to the loss, a mean over all tokens of all responses."""
        args = self.args
        read, owners = (rows // args.n).unique(return_inverse=True)
        given = (prompts.at(read), owners, responses[rows], args.temperature)
        log_probs, entropy = self.policy.log_probs(*given)
        loss = -advantage[rows] * log_probs - args.entropy * entropy
        if self.start:  # of the KL divergence's low-variance estimate e^x - x - 1, whose gradient this has
            with torch.no_grad():
                ratio = (self.start.log_probs(*given)[0] - log_probs).exp()
            loss = loss + args.kl * (1 - ratio) * log_probs
        total: Tensor = (loss * mask[rows]).sum() / mask.sum()
        return total

    def evaluate(self, temperature: float = 1.0) -> dict[str, Any]:
        """Count the right samples of every held-out problem, in the order of the prompts and their problems."""
        generator, held_out, samples = torch.Generator(DEVICE).manual_seed(1), self.task.held_out, self.args.samples
        prompts = self.policy.encode([question[0] for question in held_out])
        texts = self.answers(prompts, samples, temperature, generator)[1]
        given = list(zip(held_out, in_rows(texts, samples), strict=True))
        result: dict[str, Any] = {"step": self.step, "temperature": temperature, "samples": samples}
        result["successes"] = [sum(self.worth(p, t) == 1 for t in texts) for q, texts in given for p in q]
        if self.args.deployed:
            result["deployed"] = self.deployed(given)
        if self.task.graded:
            rewards = torch.tensor([[self.worth(q[0], text) for text in texts] for q, texts in given])
            result["max_at_k"] = {k: [round(v, 4) for v in max_at_k(rewards, k).tolist()] for k in (1, 2, 4, 8, 16)}
        return result

    def evaluate_start(self) -> str:
        """Evaluate the starting model, unless the log of another run says what comes out."""
        log: Path | None = self.args.start_log
        if log:
            settings, evaluation = log.read_text().splitlines()[:2]
            given = json.loads(settings)
            if all(str(given.get(name)) == str(getattr(self.args, name)) for name in EVALUATED):
                return evaluation
        return json.dumps(self.evaluate())

    def deployed(self, given: list[tuple[Sequence[Problem], list[str | None]]]) -> dict[str, list[float]]:
        """Estimate what a judge or a vote keeps of 4 and 8 responses to each held-out prompt."""
        by = self.args.deployed
        rule: Callable[..., Tensor] = maj_at_k if by == "vote" else selected_at_k
        rows = [(problem, texts, i) for i, (question, texts) in enumerate(given) for problem in question]
        scored = [self.scored(problem, texts, by, random.Random(i)) for problem, texts, i in rows]  # one noise a prompt
        rewards, chosen = map(list, zip(*scored, strict=True))
        weights = torch.tensor([weight for question, _ in given for weight in self.task.likelihoods(question)])
        prompts = torch.tensor([i for _, _, i in rows])
        name = "maj" if by == "vote" else "selected"
        values = {f"{name}@{k}": rule(rewards, chosen, k) * weights for k in (4, 8)}
        sums = {key: torch.zeros(len(given)).index_add(0, prompts, one) for key, one in values.items()}
        return {key: [round(value, 4) for value in one.tolist()] for key, one in sums.items()}

    def run(self) -> None:
        """Train to the end, evaluating and saving on the way."""
        args, log, saved = self.args, self.args.out / "log.jsonl", self.args.out / "state.pt"
        lines = [json.dumps({name: str(v) if isinstance(v, Path) else v for name, v in vars(args).items()})]
        if saved.exists():
            state = torch.load(saved, weights_only=False)
            self.policy.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.rng.setstate(state["rng"][0])
            self.generator.set_state(state["rng"][1])
            self.step, lines = state["step"], state["lines"]
        else:
            lines.append(self.evaluate_start())
        while self.step < args.steps:
            began, until = time.time(), min(args.steps, self.step + args.eval_every)
            done = [self.update() for _ in range(self.step, until)]
            seconds = round((time.time() - began) / len(done), 3)
            means = {name: round(sum(one[name] for one in done) / len(done), 4) for name in done[0]}
            more = args.final_temperatures if self.step == args.steps else []
            result = {**self.evaluate(), **means, "seconds_per_step": seconds}
            lines += [json.dumps(one) for one in [result, *map(self.evaluate, more)]]
            state = {"step": self.step, "lines": lines, "rng": [self.rng.getstate(), self.generator.get_state()]}
            state |= {"optimizer": self.optimizer.state_dict(), "model": self.policy.model.state_dict()}
            torch.save(state, args.out / "state.new")
            (args.out / "state.new").replace(saved)
            log.write_text("\n".join(lines) + "\n")
            print(self.step, means, flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the starting model, or its name on the hub")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--task", default="countdown", choices=NAMES)
    parser.add_argument("--estimator", default="l2o", help="grpo, rloo, or a baseline of max@k")
    parser.add_argument("--k", nargs="+", default=["4"], help="one k, several for their mean, or all")
    parser.add_argument("--select-by", default="reward", choices=["reward", "judge", "vote"], help="of k responses")
    parser.add_argument("--deployed", default="", choices=["judge", "vote"], help="evaluate what that keeps, too")
    parser.add_argument("--then-k", nargs="+", default=["1"], help="k from --switch-step on")
    for name, default, meaning in [
        ("switch-step", 0, "0 for never"), ("n", 8, "responses to a prompt"), ("prompts", 16, "in a step"),
        ("lr", 6e-5, "learning rate"), ("steps", 600, "in all"), ("eval-every", 100, "steps"), ("seed", 0, ""),
        ("temperature", 1.0, "of sampling"), ("entropy", 0.0, "weight of a bonus for the entropy of the tokens"),
        ("kl", 0.0, "weight of the divergence from the start"), ("weight-decay", 0.01, "of AdamW"),
        ("samples", 32, "of each held-out prompt in an evaluation"), ("size", 9, "of a maze"),
        ("held-out", 256, "problems to evaluate on, but for the quickstart's tasks"),
        ("train", 0, "problems of a fixed training set, 0 for all"), ("length", 0, "of a response, 0: the task's"),
        ("rows", 2400, "responses that are sampled at once"), ("update-rows", 4096, "that are read at once"),
    ]:  # fmt: skip
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{meaning} (default: {default})")
    parser.add_argument("--data", type=Path, default=Path("outputs/data/gsm8k"), help="folder of GSM8K's files")
    parser.add_argument("--start-log", type=Path, help="of a run from the same start, which is not evaluated again")
    parser.add_argument("--bf16", action="store_true", help="products in bfloat16: for a GPU, or a CPU with AMX")
    parser.add_argument("--final-temperatures", type=float, nargs="*", default=[], help="of more final evaluations")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    Trainer(args).run()


if __name__ == "__main__":
    main()
