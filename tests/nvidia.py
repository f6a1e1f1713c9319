"""A stand-in for nvidia-smi that answers what the real one is asked here, in its words."""

from pathlib import Path

# nvidia-smi of driver 570 on a machine with one H100.
TOOL = """#!/bin/sh
units=" MiB" percent=" %" head=yes asked=
for word; do
  case "$word" in
    --format=*) case "$word" in *noheader*) head=;; esac; case "$word" in *nounits*) units= percent=;; esac ;;
    --query-gpu=*) asked=$(echo "${word#*=}" | tr , ' ') ;;
    --query-compute-apps=*) [ -z "$head" ] || echo pid; exit 0 ;;
    -L) echo "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5b1b5a3e-0000-0000-0000-000000000000)"; exit 0 ;;
    *) echo "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help."; exit 1 ;;
  esac
done
line=
for field in $asked; do
  case "$field" in
    index) value=0 ;;
    name) value="NVIDIA H100 80GB HBM3" ;;
    driver_version) value=570.86.15 ;;
    utilization.gpu) value="3$percent" ;;
    memory.used) value="4$units" ;;
    memory.total) value="81559$units" ;;
    *) echo "Field \\"$field\\" is not a valid field to query."; exit 2 ;;
  esac
  line="$line${line:+, }$value"
done
[ -z "$head" ] || echo "$asked" | tr ' ' ,
echo "$line"
"""


def write_tool(folder: Path) -> Path:
    """Write the program into a folder; return the folder, for a PATH."""
    folder.mkdir()
    (folder / "nvidia-smi").write_text(TOOL)
    (folder / "nvidia-smi").chmod(0o755)
    return folder
