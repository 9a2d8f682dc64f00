"""Unbiased pass@k and max@k of runs, with intervals, from verl's dumps.

    verl-maxpo evaluate outputs/gsm8k
    verl-maxpo evaluate outputs/gsm8k/*-seed? --k 1 8 16 --out report
    verl-maxpo evaluate outputs/gsm8k --select-by vote

A RUN is a folder with validation/*.jsonl (where trainer.validation_data_dir
points) or *.jsonl, or a single file; of any other folder, every run below it is
taken. Any JSON lines with a prompt (prompt_id, input or uid) and a score will
do; acc, data_source, step, answer and status are used where they are. Runs
whose names differ by -seed<N> only are averaged. Prompts are told apart by
their uid; those of different runs are matched by their text. pass@k is of acc
if that is 0 or 1 throughout, else of score if that is; otherwise there is max@k
of score only.

With --select-by, the column that deployment chooses one of k responses by (a
judge's score), or vote for the majority of their answers, there is selected@k
or maj@k beside them, and gap@k, what the best of k has over it.

verl's dumps lack samples whose session failed, which verl's own metrics count
as wrong. With --n, the number of samples that each prompt should have, those
that are missing are wrong here too; max@k leaves them out. A prompt without any
sample is not in a dump and cannot be counted.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from itertools import islice
from pathlib import Path

from verl_maxpo.cli.common import CommandError, add_json, positive, show, write_json
from verl_maxpo.evaluate.comparison import compare
from verl_maxpo.evaluate.dumps import read_runs
from verl_maxpo.evaluate.report import write_markdown, write_report
from verl_maxpo.evaluate.results import METRICS, STATUS
from verl_maxpo.evaluate.tables import legend, tables

_METRICS_HELP = f"what to show of {', '.join(METRICS)}, {STATUS} (default: pass@k, else max@k)"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("paths", type=Path, nargs="+", metavar="RUN", help="folder or file")
    parser.add_argument(
        "--k", type=positive, nargs="+", help="default: powers of two up to the number of samples, and the trained K"
    )
    parser.add_argument(
        "--n", type=positive, metavar="N", help="samples that each prompt should have; missing ones are wrong"
    )
    parser.add_argument("--select-by", metavar="COLUMN", help="what chooses one of k responses: a column, or vote")
    parser.add_argument("--reference", metavar="RUN", help="compare all others with this run (default: each with each)")
    parser.add_argument("--metrics", nargs="+", choices=(*METRICS, STATUS), metavar="METRIC", help=_METRICS_HELP)
    parser.add_argument("--all-steps", action="store_true", help="show every step, not only the first and the last")
    parser.add_argument("--brief", action="store_true", help="show the first table only: no differences, no legend")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.json, .md, .png and .html there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    add_json(parser)


def run(options: Namespace) -> int:
    """Evaluate the runs and show what comes of it."""
    try:
        runs = read_runs(options.paths, options.select_by)
        comparison = compare(runs, options.k, options.n, options.reference, options.select_by)
    except (ValueError, OSError) as error:
        raise CommandError(error) from error
    if not comparison.estimates:
        raise CommandError("\n  ".join(["nothing is left to show:", *comparison.notes]))
    metrics = options.metrics or comparison.shown_metrics()
    shown = tables(comparison, all_steps=options.all_steps, metrics=metrics)
    if options.brief:
        show(islice(shown, 1), "", comparison.notes)
    else:
        show(shown, legend(comparison), comparison.notes)
    write_json(comparison, options.json)
    if options.markdown:
        write_markdown(comparison, options.markdown)
    if options.out:
        files = write_report(comparison, runs, options.out)
        write_json(comparison, options.out / "report.json")
        print(f"written to {options.out}: report.json, {', '.join(file.name for file in files)}")
    return 0
