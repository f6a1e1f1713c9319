"""Lesson 1: is it a bird or a mammal? Fine-tune a network that already knows what pictures look like.

It trains the last layer only, which takes seconds. With any option of jobs.finetune it trains the whole network, for which
a GPU is better: gpujob run lesson1.py --data my-photos.
"""

import sys

from jobs.finetune import main
from photos import MISSING, PHOTOS

OPTIONS = ["--data", str(PHOTOS), "--model", "efficientnet_lite0", "--pretrained", "--size", "160"]

if __name__ == "__main__":
    if not PHOTOS.is_dir() and not any(word.startswith("--data") for word in sys.argv):
        sys.exit(MISSING)
    main([*OPTIONS, *(sys.argv[1:] or ["--head-only"])])
