#!/usr/bin/env bash
# The life of a cluster, rehearsed: the commands are real, the cloud is the local one, the images are real.
# DATA=folder names the folder with Fashion-MNIST's four files; EPOCHS how long to train.
set -euo pipefail
cd "$(dirname "$0")/.."
export GPUJOB_DRY_RUN=1  # AWS is not asked for anything, credentials or not
name=gpujob-demo

if [ -z "${DATA:-}" ] && [ ! -d /usr/share/datasets/fashion-mnist ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "installing Debian's package dataset-fashion-mnist (30 MB)"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes dataset-fashion-mnist; } > /dev/null 2>&1 ||
        echo "  apt has no such package here; the training will look elsewhere"
fi

type_it() {
    printf '\n\033[1m$ gpujob %s\033[0m\n' "$*"
    .venv/bin/gpujob "$@"
}

type_it up "$name"
trap '.venv/bin/gpujob down "$name" --force > /dev/null 2>&1' EXIT
type_it run --cluster "$name" --no-deps -m jobs.train --epochs "${EPOCHS:-3}" ${DATA:+--data "$(realpath "$DATA")"}
type_it jobs --cluster "$name"
type_it ls
type_it down "$name"

printf '\n'
exec .venv/bin/python - "$name" << 'END'
import json, subprocess, sys
from pathlib import Path

newest = max(Path("runs").glob(f"{sys.argv[1]}-*/receipt.json"), key=lambda path: path.stat().st_mtime)
facts = json.loads((newest.parent / "files" / "outputs" / "args.json").read_text())
left = json.loads(subprocess.run([".venv/bin/gpujob", "ls", "--json"], stdout=subprocess.PIPE, check=True).stdout)
if facts["data_set"] != "Fashion-MNIST":
    print(f"Fashion-MNIST was nowhere to be found; trained on {facts['data_set']} instead (make demo DATA=folder)")
print(f"test accuracy  {facts['test_accuracy']:.4f} on {facts['data_set']}, {facts['epochs']} epochs")
print(f"model          {(newest.parent / 'files' / 'outputs' / 'model.safetensors').resolve()}")
print(f"receipt        {newest.resolve()}")
mine = [cluster for cluster in left if cluster["name"] == sys.argv[1]]
sys.exit(f"still there: {mine}" if mine else print("nothing left that bills"))
END
