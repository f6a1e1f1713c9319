# What a newcomer types: make demo, make test. Everything lives in .venv; nothing else on the machine is touched.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: setup demo test lint types unit test-system bench clean

setup: .venv/ready

# torch first, by plain pip and with open bounds: it is the large part, and later changes here must not fetch it again.
.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gpujob needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check 'torch>=2.4' 'torchvision>=0.19'
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup
	DATA="$(DATA)" bash tests/demo.sh

test: lint types unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd ansible && ANSIBLE_HOME=../.mypy_cache/ansible ../$(BIN)/ansible-lint --offline --profile production -qq

types: setup
	$(BIN)/mypy

unit: setup
	$(BIN)/pytest -q -n 4 --dist worksteal

# The playbook and the lease on a Debian that boots, with systemd, OpenSSH and cloud-init. Needs root, and Debian's packages
# apt-cacher-ng iproute2 mmdebstrap openssh-client systemd-container; says what is missing. Its cache: ~/.cache/gpujob-system.
test-system: setup
	$(BIN)/pytest -q tests/system

# Ratios against OpenSSH and rsync, measured in one run: make bench, make bench ARGS="--quick --rows run"
bench: setup
	$(BIN)/python -m tests.bench $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
