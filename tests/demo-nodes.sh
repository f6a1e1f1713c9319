#!/usr/bin/env bash
# Two machines, rehearsed: a training over both, the loss of one, its continuation from the checkpoint, and a grid of twelve tasks.
# The commands are real, the cloud is the local one. Both machines are this computer, so two are not faster here than one.
# The images are the 1,797 digits that scikit-learn brings along. EPOCHS says how long to train.
set -euo pipefail
cd "$(dirname "$0")/.."
export GPUJOB_DRY_RUN=1  # AWS is not asked for anything, credentials or not
export GPUJOB_CLUSTER=gpujob-demo-nodes
name=$GPUJOB_CLUSTER epochs=${EPOCHS:-30}
train=(--no-deps --env OMP_NUM_THREADS=1 -m jobs.train --data digits --device cpu)
both=(--nodes 2 "${train[@]}" --model small --epochs "$epochs" --save-every 1s --resume auto)
grid=(--grid 'lr=0.3,0.1,0.03,0.01' --grid 'seed=0,1,2' "${train[@]}" --model linear --optimizer sgd --epochs 3 --lr '{lr}' --seed '{seed}')

type_it() {
    printf '\n\033[1m$ gpujob %s\033[0m\n' "$*"
    .venv/bin/gpujob "$@"
}

fail() {
    printf 'demo-nodes: %s\n' "$*" >&2
    exit 1
}

newest() {  # the folder of the newest results of node 0
    find runs -maxdepth 1 -name "$name-*" ! -name '*.*' -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2
}

trap '.venv/bin/gpujob down "$name" --force --if-exists > /dev/null 2>&1' EXIT
type_it up "$name" --nodes 2 --yes
type_it run --detach "${both[@]}"
lost=$(newest)
job=${lost##*-}
until .venv/bin/gpujob logs --node 0 "$job" | grep -q '^epoch 3/'; do
    [ "$SECONDS" -lt 300 ] || fail "no third epoch of job $job in 5 minutes"
    sleep 0.5
done

printf '\nThe second machine powers itself off, in the middle of the training:\n'
type_it ssh --node 1 -- sudo shutdown -h now || true
code=0
type_it wait "$job" || code=$?
printf '(exit code %s)\n' "$code"
[ "$code" = 1 ] || fail "a job that lost a machine ended with exit code $code"
type_it down "$name"
grep -q '"failed_node": 1' "$lost/receipt.json" || fail "$lost/receipt.json does not name node 1"

printf '\nTwo new machines continue from the checkpoint that was downloaded:\n'
type_it up "$name" --nodes 2 --yes
type_it run --from "${lost##*/}" "${both[@]}"
resumed=$(newest)
grep -q '^resuming from ' "$resumed/job.log" || fail "$resumed did not resume"
# It prints the epochs of the checkpoint again as they were, with their seconds; the next one is the first that it trains.
first=$((1 + $(grep '^epoch ' "$resumed/job.log" | grep -cxFf <(grep '^epoch ' "$lost/job.log"))))
[ "$first" -gt 1 ] || fail "$resumed began at epoch 1"
printf '(epoch %s was the first that it trained)\n' "$first"

printf '\nTwelve short trainings, of which each machine takes the next when it has finished one:\n'
type_it run "${grid[@]}"
type_it tasks --sort -accuracy
rows=$(.venv/bin/gpujob tasks --csv | tail -n +2 | grep -c succeeded || true)
[ "$rows" = 12 ] || fail "$rows of 12 tasks succeeded"
type_it down "$name"

.venv/bin/gpujob ls --json | grep -q "\"$name\"" && fail "'$name' is still there"
printf '\nresumed at epoch %s of %s; 12 of 12 tasks; nothing left that bills; %s s\n' "$first" "$epochs" "$SECONDS"
