"""Say whether a run with maxpo would start here, and what to do if not.

    verl-maxpo doctor
    verl-maxpo doctor --nodes 2 --gpus 8    # and are these GPUs free?

Checks the installed versions, how verl found the plugin, and the estimator
registry in this process and in a worker on every node of the Ray cluster
(RAY_ADDRESS, or a local cluster started for this check). Exits with 1 if
something would stop a run.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from verl_maxpo.cli.common import add_json, non_negative, positive, write_json
from verl_maxpo.doctor import examine


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--no-ray", action="store_true", help="do not check Ray's workers")
    parser.add_argument("--nodes", type=positive, default=1, metavar="N", help="nodes that Ray must have (default 1)")
    parser.add_argument("--gpus", type=non_negative, default=0, metavar="N", help="free GPUs that each node must have")
    parser.add_argument("--wait", type=non_negative, default=0, metavar="SECONDS", help="how long to wait for them")
    add_json(parser)


def run(options: Namespace) -> int:
    """Show the findings as they come."""
    findings = []
    for finding in examine(ray=not options.no_ray, nodes=options.nodes, gpus=options.gpus, wait=options.wait):
        print(finding, flush=True)
        findings.append(finding)
    write_json(findings, options.json)
    if any(finding.level == "fail" for finding in findings):
        print("something would stop a run: see the fixes above")
        return 1
    print("algorithm.adv_estimator=maxpo is ready")
    return 0
