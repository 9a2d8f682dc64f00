"""Unbiased pass@k and max@k of runs, with intervals, from verl's dumps.

    verl-maxpo evaluate outputs/gsm8k
    verl-maxpo evaluate outputs/gsm8k/*-seed? --k 1 8 16 --out report
    verl-maxpo evaluate outputs/gsm8k --select-by vote

A RUN is a folder with validation/*.jsonl (where trainer.validation_data_dir
points) or *.jsonl, or a single file. If a folder has neither, every run below
it is evaluated. Any JSON lines with a prompt (prompt_id, input, prompt or uid)
and a score will do; acc, data_source, step, answer and status are used if
present. Runs whose names differ only by -seed<N> are averaged. Prompts are told
apart by their uid, and matched between runs by their text. pass@k is computed
from acc if it is always 0 or 1, else from score if that is; otherwise only
max@k of score is shown.

--select-by says how deployment chooses one of k responses: by a column (such as
a judge's score), or by vote, which takes the majority of their answers. Then
selected@k or maj@k is shown too, and gap@k, by how much the best of k beats it.

verl's dumps lack samples whose session failed, which verl's own metrics count
as wrong. --n sets the number of samples that each prompt should have. Missing
ones then count as wrong here too, except in max@k, which leaves them out. A
prompt without any samples is not in a dump and cannot be counted.
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

_METRICS_HELP = f"show some of {', '.join(METRICS)}, {STATUS} (default: pass@k, else max@k)"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("paths", type=Path, nargs="+", metavar="RUN", help="folder or file")
    parser.add_argument(
        "--k", type=positive, nargs="+", help="default: powers of two up to the number of samples, and the trained K"
    )
    parser.add_argument(
        "--n", type=positive, metavar="N", help="samples that each prompt should have; missing ones count as wrong"
    )
    parser.add_argument("--select-by", metavar="COLUMN", help="how one of k responses is chosen: by a column or vote")
    parser.add_argument("--reference", metavar="RUN", help="compare all others with this run (default: each with each)")
    parser.add_argument("--metrics", nargs="+", choices=(*METRICS, STATUS), metavar="METRIC", help=_METRICS_HELP)
    parser.add_argument("--all-steps", action="store_true", help="show every step, not only the first and the last")
    parser.add_argument("--brief", action="store_true", help="show only the first table, no differences, no legend")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.json, .md, .png and .html to DIR")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to FILE")
    add_json(parser)


def run(options: Namespace) -> int:
    """Evaluate the runs and show the results."""
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
