"""Lesson 0: train a network that reads digits, and do not watch it.

Any option of jobs.train may follow: gpujob run lesson0.py --epochs 20.
"""

import sys

from jobs.train import main

OPTIONS = ["--data", "digits", "--model", "small", "--epochs", "4"]

if __name__ == "__main__":
    main([*OPTIONS, *sys.argv[1:]])
