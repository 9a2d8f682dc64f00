"""Train a small language model for the best of K: MaxPO in one file of plain PyTorch, without verl.

    python examples/quickstart/prepare.py --task hidden_digit --out outputs/hidden_digit      # the starting model
    python examples/pytorch/train.py --task hidden_digit --model outputs/hidden_digit/model --k 4 --out outputs/maxpo

Each step samples n responses to some prompts, scores them, turns the rewards of each prompt into advantages and makes
one update; being on-policy, it needs neither a ratio nor clipping. ``OUT/log.jsonl`` holds the settings, then for every
evaluation the number of right samples of every held-out problem. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, DynamicCache, Qwen2ForCausalLM

from verl_maxpo import max_at_k, max_at_k_advantages

sys.path.insert(0, str(Path(__file__).parents[1] / "quickstart"))
from countdown import Problem, draw_problem, expressions, questions

RESPONSE_LENGTH = 8  # four digits, three operators and the end
SAMPLES = 32  # of each held-out prompt in an evaluation
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def advantages(rewards: Tensor, estimator: str, k: list[str]) -> Tensor:
    """Turn rewards ``[prompts, n]`` into advantages; ``estimator`` is grpo, rloo or a baseline of max@k."""
    mean, n = rewards.mean(dim=1, keepdim=True), rewards.shape[1]
    if estimator == "grpo":
        return (rewards - mean) / (rewards.std(dim=1, keepdim=True) + 1e-6)
    if estimator == "rloo":
        return (rewards - mean) * n / (n - 1)
    # "all" is every max@k, weighted 1/k: for 0/1 rewards MaxRL's (g - mean) / mean
    return max_at_k_advantages(rewards, "all" if k == ["all"] else [int(one) for one in k], baseline=estimator)


def reward(answer: str, problem: Problem, graded: bool = False) -> float:
    """Score an answer: 1 for the target, and if graded 1/(1 + distance) for every valid expression."""
    value = expressions(problem.digits).get(answer)
    if value is None or not graded:
        return float(value == problem.target)
    return 1 / (1 + abs(value - problem.target))


class Policy:
    """A language model that answers prompts of equal length."""

    def __init__(self, folder: str, device: str = DEVICE) -> None:
        self.model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.end, self.characters = tokenizer.eos_token_id, tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        self.token_of = {character: token for token, character in enumerate(self.characters)}

    def encode(self, problems: list[Problem]) -> Tensor:
        """Return the tokens of their prompts, ``[prompts, length]``."""
        return torch.tensor([[self.token_of[c] for c in one.prompt] for one in problems], device=self.model.device)

    def decode(self, responses: Tensor) -> list[str]:
        """Return the text of responses up to their end."""
        texts = ["".join(self.characters[token] for token in response) for response in responses.tolist()]
        return [text.split(self.characters[self.end])[0] for text in texts]

    @torch.no_grad()
    def sample(self, prompts: Tensor, n: int, temperature: float, generator: torch.Generator) -> Tensor:
        """Draw n responses to each prompt, ``[prompts * n, RESPONSE_LENGTH]``; a prompt is read once for all n."""
        cache, tokens = DynamicCache(), []
        logits = self.model(prompts, past_key_values=cache, logits_to_keep=1).logits[:, -1].repeat_interleave(n, dim=0)
        cache.batch_repeat_interleave(n)
        for position in range(RESPONSE_LENGTH):
            tokens.append(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))
            if position < RESPONSE_LENGTH - 1:
                logits = self.model(tokens[-1], past_key_values=cache).logits[:, -1]
        return torch.cat(tokens, dim=1)

    def log_probs(self, prompts: Tensor, responses: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Return the log-probability of each token and the entropy at its place, ``[responses, length]`` each."""
        tokens = torch.cat([prompts, responses], dim=1)[:, :-1]
        logits = self.model(tokens, use_cache=False, logits_to_keep=RESPONSE_LENGTH).logits / temperature
        log_probs = logits.log_softmax(-1)
        return log_probs.gather(-1, responses[..., None])[..., 0], -(log_probs.exp() * log_probs).sum(-1)

    def mask(self, responses: Tensor) -> Tensor:
        """Return 1 for the tokens of responses up to and including their end, 0 beyond it."""
        ends: Tensor = responses == self.end
        return (ends.cumsum(dim=1) - ends.long() == 0).float()


class Trainer:
    """One run."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.policy, self.step = args, Policy(args.model), 0
        self.start = Policy(args.model) if args.kl else None
        self.train, self.held_out = questions("hidden_digit" if args.task == "hidden_digit" else "countdown")
        self.optimizer = torch.optim.AdamW(self.policy.model.parameters(), lr=args.lr, weight_decay=0.01)
        self.rng, self.generator = random.Random(args.seed), torch.Generator(DEVICE).manual_seed(args.seed)

    def update(self) -> dict[str, float]:
        """Sample, score, make one update and return what happened."""
        args, policy = self.args, self.policy
        asked = [draw_problem(self.rng.choice(self.train), self.rng) for _ in range(args.prompts)]
        prompts, asked = policy.encode(asked), [problem for problem in asked for _ in range(args.n)]
        responses = policy.sample(prompts, args.n, args.temperature, self.generator)
        scored = [reward(*pair, args.task == "closest") for pair in zip(policy.decode(responses), asked, strict=True)]
        rewards = torch.tensor(scored, device=DEVICE)
        k = args.then_k if args.switch_step and self.step >= args.switch_step else args.k
        advantage = advantages(rewards.view(-1, args.n), args.estimator, k).view(-1, 1)
        mask = policy.mask(responses)
        rows = (advantage[:, 0] != 0) | bool(args.entropy or args.kl)  # others have no gradient
        rows[0] = True  # there may be none
        prompts, responses = prompts.repeat_interleave(args.n, dim=0)[rows], responses[rows]
        log_probs, entropy = policy.log_probs(prompts, responses, args.temperature)
        loss = -advantage[rows] * log_probs - args.entropy * entropy
        if self.start:  # of the KL divergence's low-variance estimate e^x - x - 1, whose gradient this has
            with torch.no_grad():
                ratio = (self.start.log_probs(prompts, responses, args.temperature)[0] - log_probs).exp()
            loss = loss + args.kl * (1 - ratio) * log_probs
        self.optimizer.param_groups[0]["lr"] = args.lr * min(1, (self.step + 1) / 5)
        self.optimizer.zero_grad()
        ((loss * mask[rows]).sum() / mask.sum()).backward()
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return {"reward": rewards.mean().item(), "signal": advantage.view(-1, args.n).any(dim=1).float().mean().item()}

    def evaluate(self, temperature: float = 1.0) -> dict[str, Any]:
        """Count the right samples of every held-out problem, in the order of the questions and their problems."""
        generator, graded = torch.Generator(DEVICE).manual_seed(1), self.args.task == "closest"
        parts = torch.split(self.policy.encode([question[0] for question in self.held_out]), 75)
        answers = [a for p in parts for a in self.policy.decode(self.policy.sample(p, SAMPLES, temperature, generator))]
        given = [(q, answers[i * SAMPLES : (i + 1) * SAMPLES]) for i, q in enumerate(self.held_out)]
        result: dict[str, Any] = {"step": self.step, "temperature": temperature, "samples": SAMPLES}
        result["successes"] = [sum(int(reward(a, p)) for a in texts) for question, texts in given for p in question]
        if graded:
            rewards = torch.tensor([[reward(a, question[0], graded) for a in texts] for question, texts in given])
            result["max_at_k"] = {k: [round(v, 4) for v in max_at_k(rewards, k).tolist()] for k in (1, 2, 4, 8, 16)}
        return result

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
            lines.append(json.dumps(self.evaluate()))
        while self.step < args.steps:
            began, until = time.time(), min(args.steps, self.step + args.eval_every)
            done = [self.update() for _ in range(self.step, until)]
            means = {name: round(sum(one[name] for one in done) / len(done), 4) for name in done[0]}
            more = args.final_temperatures if self.step == args.steps else []
            result = {**self.evaluate(), **means, "seconds_per_step": round((time.time() - began) / len(done), 3)}
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
    parser.add_argument("--model", required=True, help="folder of the starting model, from prepare.py")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--task", default="countdown", choices=["countdown", "hidden_digit", "closest"])
    parser.add_argument("--estimator", default="l2o", help="grpo, rloo, or a baseline of max@k")
    parser.add_argument("--k", nargs="+", default=["4"], help="one k, several for their mean, or all")
    parser.add_argument("--then-k", nargs="+", default=["1"], help="k from --switch-step on")
    for name, default, meaning in [
        ("switch-step", 0, "0 for never"), ("n", 8, "responses to a prompt"), ("prompts", 16, "in a step"),
        ("lr", 6e-5, "learning rate"), ("steps", 600, "in all"), ("eval-every", 100, "steps"), ("seed", 0, ""),
        ("temperature", 1.0, "of sampling"), ("entropy", 0.0, "weight of a bonus for the entropy of the tokens"),
        ("kl", 0.0, "weight of the divergence from the start"),
    ]:  # fmt: skip
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{meaning} (default: {default})")
    parser.add_argument("--final-temperatures", type=float, nargs="*", default=[], help="of more final evaluations")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    Trainer(args).run()


if __name__ == "__main__":
    main()
