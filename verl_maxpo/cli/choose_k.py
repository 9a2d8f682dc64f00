"""Show which k and n would give a signal, from the rewards of a rollout dump.

    verl-maxpo choose-k outputs/rollouts
    verl-maxpo choose-k outputs/rollouts --k 1 2 4 8 --n 8 16

A DUMP is a folder of rollouts (where trainer.rollout_data_dir points) or a
file. Groups are formed by uid, as in training. Dumps without uids (from verl's
legacy trainer) are grouped by prompt and gold answer, so a prompt that occurs
twice in a step makes only one group. If several steps have the same prompts, as
in validation, only the last step is shown.

signal       groups that teach something: not all of their advantages are 0. The
             other kinds make up the rest
all fail     all rewards are equal, and not above 0
all equal    all rewards are equal, and above 0
too many     more than n - k responses, but not all, share the best reward
undersized   the group has too few responses for this k
nonzero      samples whose MaxPO advantage is not 0
max@k, gain  unbiased max@k of the dump, and how far it is above max@1: what
             taking the best of k gains now, not what training with k will gain
E[A^2]       mean square of the advantages of each baseline, with the factor k
             as in training. A group that is too small for a baseline counts as
             zeros. E[A^2] is not a proxy for the variance of the gradient

For a smaller n (--n), groups of that size are drawn from the dump's groups
without replacement: 16 responses make two groups of 8.

The last line recommends the largest k shown that is at most n/2 and keeps 90%
of the groups with a signal.
"""

from __future__ import annotations

import textwrap
from argparse import ArgumentParser, Namespace
from pathlib import Path

from verl_maxpo.cli.common import CommandError, add_json, positive, show, write_json
from verl_maxpo.evaluate import choose_k
from verl_maxpo.evaluate.dumps import read_runs
from verl_maxpo.evaluate.tables import WIDTH


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("paths", type=Path, nargs="+", metavar="DUMP", help="folder or file")
    parser.add_argument("--k", type=positive, nargs="+", metavar="K", help="default: the powers of two that n allows")
    parser.add_argument("--n", type=positive, nargs="+", metavar="N", help="smaller group sizes than the dump's")
    parser.add_argument("--all-steps", action="store_true", help="combine all steps, even on the same prompts")
    add_json(parser)


def run(options: Namespace) -> int:
    """Evaluate the dumps and show the results."""
    try:
        choices = choose_k.choose_k(read_runs(options.paths), options.k, options.n, all_steps=options.all_steps)
    except (ValueError, OSError) as error:
        raise CommandError(error) from error
    if not choices.rows:
        raise CommandError("\n  ".join(["nothing is left to show:", *choices.notes]))
    show(choose_k.tables(choices), choose_k.LEGEND, choices.notes)
    print(*(textwrap.fill(advice, WIDTH) for advice in choices.advice), sep="\n")
    write_json(choices, options.json)
    return 0
