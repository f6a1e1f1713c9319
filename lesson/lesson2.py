"""Lesson 2: what does a model get wrong? Train one on pictures of clothes, then look at its mistakes.

Any option of jobs.train may follow: gpujob run lesson2.py --data my-photos.
"""

import sys

from jobs import interpret, train, validate
from jobs.program import default_out

OPTIONS = ["--model", "lenet", "--quick"]  # Fashion-MNIST; digits if it cannot be downloaded

if __name__ == "__main__":
    train.main([*OPTIONS, *sys.argv[1:], "--out", str(default_out())])
    validate.main([str(default_out())])
    interpret.main([str(default_out())])
