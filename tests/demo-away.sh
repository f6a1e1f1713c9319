#!/usr/bin/env bash
# A sent job, rehearsed: its laptop is set aside, its machine is lost twice, and another laptop downloads the model.
# The commands are real; the cloud is a local one of its own. The images are the 1,797 digits that scikit-learn brings along.
# TRAIN_S says how long to train: long enough that both machines are lost before it has ended.
set -euo pipefail
cd "$(dirname "$0")/.."
export GPUJOB_DRY_RUN=1  # AWS is not asked for anything, credentials or not
export GPUJOB_CLUSTER=gpujob-demo-away
name=$GPUJOB_CLUSTER away=$(mktemp -d)
train=(--no-deps --env OMP_NUM_THREADS=1 -m jobs.train --data digits --device cpu --model small)
train+=(--time-budget "${TRAIN_S:-60}s" --save-every 3s --resume auto)

type_it() {
    printf '\n\033[1m$ gpujob %s\033[0m\n' "$*"
    .venv/bin/gpujob "$@"
}

fail() {
    printf 'demo-away: %s\n' "$*" >&2
    exit 1
}

await() {  # await WHAT FUNCTION...: until the function succeeds
    local what=$1 deadline=$((SECONDS + 300))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "no $what in 5 minutes"
        sleep 1
    done
}

printed() {  # whether the log in the bucket has a line that begins like this
    .venv/bin/gpujob logs > "$away/log" 2> /dev/null && grep -q "^$1" "$away/log"
}

ended() {
    .venv/bin/gpujob jobs --json 2> /dev/null | grep -Eq '"state": "(succeeded|failed|interrupted|cancelled)"'
}

lose_machine() {  # lose_machine notice|power: print which machine was lost
    .venv/bin/python - "$1" << 'END'
import os, sys, time
from pathlib import Path

from infra.local import process
from infra.local.cloud.server import control
from tests.cloudwatch import Watch

cloud = process.find(Path(os.environ["XDG_STATE_HOME"]) / "gpujob/local")
watch = Watch(cloud)
living = [one["InstanceId"] for one in watch.living()]
if len(living) != 1:
    sys.exit(f"demo-away: running machines: {living}; is TRAIN_S too short?")
if sys.argv[1] == "notice":
    control.add_faults(cloud, "interrupt=8")
else:
    watch.ec2.terminate_instances(InstanceIds=living)
deadline = time.monotonic() + 60
while living[0] in [one["InstanceId"] for one in watch.living()]:
    if time.monotonic() > deadline:
        sys.exit(f"demo-away: {living[0]} was not lost")
    time.sleep(0.1)
control.clear_faults(cloud)  # at once: its replacement would be taken, too
print(living[0])
END
}

clean() {
    .venv/bin/gpujob down "$name" --force --if-exists > /dev/null 2>&1 || true
    .venv/bin/gpujob local stop > /dev/null 2>&1 || true
    rm -rf "$away"
}

export XDG_STATE_HOME=$away/laptop
mkdir -p "$away/laptop" "$away/aside" "$away/other/gpujob"
trap clean EXIT
type_it send --spot --max-hours 1 --name "$name" --yes "${train[@]}"

printf '\nThe laptop is set aside. Another one has the project and the credentials, and has never heard of the job:\n'
find "$away/laptop/gpujob" -mindepth 1 -maxdepth 1 ! -name local -exec mv -t "$away/aside" {} +
ln -s "$away/laptop/gpujob/local" "$away/other/gpujob/local"  # this is the cloud
export XDG_STATE_HOME=$away/other
await 'epoch in the bucket' printed 'epoch 3 '
type_it jobs

printf '\nAWS takes the machine, after a notice:\n'
first=$(lose_machine notice)
printf '%s is terminated\n' "$first"
await 'second attempt' printed 'resuming from '
resumed=$(grep '^resuming from ' "$away/log")
type_it ls

printf '\nThe next machine ends without any notice, and is missed after 60 s:\n'
second=$(lose_machine power)
printf '%s is terminated\n' "$second"
[ "$second" != "$first" ] || fail "$first was not replaced"
await 'end of the job' ended
type_it jobs
type_it logs --tail 4
type_it fetch
type_it cost
type_it down "$name" --yes

newest=$(find runs -maxdepth 1 -name "$name-*" ! -name '*.*' -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)
grep -q '^resuming from ' "$newest/job.log" || fail "$newest/job.log: the third machine did not resume"
grep -qxF "$resumed" "$newest/job.log" && fail "$newest/job.log: nothing of the second machine was used"
.venv/bin/gpujob ls --json | grep -q "\"$name\"" && fail "'$name' is still there"
.venv/bin/python - "$newest" "$first" "$second" "$SECONDS" << 'END'
import json, sys
from pathlib import Path

run, first, second, seconds = Path(sys.argv[1]), *sys.argv[2:]
receipt = json.loads((run / "receipt.json").read_text())
facts = json.loads((run / "files/outputs/args.json").read_text())
epochs = len((run / "files/outputs/metrics.jsonl").read_text().splitlines())
job, machine = receipt["job"], receipt["instance_id"]
if job["state"] != "succeeded" or machine in (first, second) or facts["test_accuracy"] < 0.95:
    sys.exit(f"demo-away: {job['state']} on {machine}, test accuracy {facts['test_accuracy']:.4f}")
print(f"\ntest accuracy  {facts['test_accuracy']:.4f} after {epochs} epochs on three machines")
print(f"model          {run / 'files/outputs/model.safetensors'}")
print(f"bill           ${receipt['usd']:.4f} on AWS")
print(f"nothing left that bills; {seconds} s")
END
