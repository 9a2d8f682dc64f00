#!/usr/bin/env bash
# Make this machine a node of a Ray cluster, if verl and verl-maxpo are found on it.
#   examples/multinode/ray_node.sh head [any option of `ray start`]
#   examples/multinode/ray_node.sh worker HEAD_ADDRESS:6379 [any option of `ray start`]
set -euo pipefail

usage() {
    echo "usage: ray_node.sh head [option...], or ray_node.sh worker HEAD_ADDRESS:PORT [option...]; got: $*" >&2
    exit 2
}

case "${1:-}" in
    head) place=(--head) options=("${@:2}") ;;
    worker)
        [[ "${2:-}" == *:* ]] || usage "$@"
        place=(--address="$2") options=("${@:3}") ;;
    *) usage "$@" ;;
esac

# Ray's processes, and so every worker of a run, keep the environment of this command.
python -m verl_maxpo doctor --no-ray >&2
exec ray start "${place[@]}" "${options[@]}"
