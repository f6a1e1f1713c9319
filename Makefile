# What a newcomer types: make try, make demo, make test. Everything is installed into .try and .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: setup lock hooks try demo demo-nodes demo-away fast test lint types quick unit coverage matrix test-system test-ray test-sent test-aws mutants bench bench-growth docs pictures clean

setup: .venv/ready

# torch first, by plain pip and with open bounds: it is the large part, and later changes here must not fetch it again.
# Everything else has the version that the lock says.
.venv/ready: pyproject.toml requirements-dev.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gpujob needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements-dev.lock 'torch>=2.4' 'torchvision>=0.19'
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements-dev.lock --editable '.[dev]'
	touch $@

# One job on the local cloud, in an environment without torch: under a minute from a clone.
try: .try/ready
	bash tests/try.sh

.try/ready: pyproject.toml requirements-dev.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gpujob needs Python 3.11 or newer: make try PYTHON=/path/to/python3.11")'
	test -x .try/bin/pip || $(PYTHON) -m venv .try
	.try/bin/pip install --quiet --disable-pip-version-check --constraint requirements-dev.lock --editable '.[local]'
	touch $@

# The newest versions that fit pyproject.toml, on Linux and macOS and for every Python from 3.11 on; not torch and what it brings along.
lock:
	test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet uv; }
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-annotate --no-header pyproject.toml > .venv/lock
	{ echo '# make lock writes this, make setup installs from it'; grep -vE '^(torch|torchvision|triton|nvidia-.*|cuda-.*)==' .venv/lock; } > requirements-dev.lock

# Lint, spelling and types before each commit: CONTRIBUTING.md.
hooks: setup
	$(BIN)/pre-commit install

demo: setup
	DATA="$(DATA)" bash tests/demo.sh

# A training over two machines that loses one and resumes, and a grid of twelve tasks: EPOCHS=30 for longer.
demo-nodes: setup
	bash tests/demo-nodes.sh

# A sent job that loses its machine twice, while its laptop is set aside, and another laptop that downloads the model.
demo-away: setup
	bash tests/demo-away.sh

# What takes about a minute: all but the tests that start a local cloud, the agent or Ansible, or train a model.
fast: lint types quick

test: setup
	$(MAKE) --jobs 2 --output-sync lint types  # each is one process for a minute or more
	$(MAKE) unit

lint: setup .venv/ansible-linted
	$(BIN)/ruff check --no-cache .  # the cache does not see that an imported file was renamed
	$(BIN)/ruff format --check .
	$(BIN)/codespell

# It takes longer than all other checks together, so only where something of the playbook has changed.
.venv/ansible-linted: .venv/ready $(shell find ansible -type f)
	cd ansible && ANSIBLE_HOME=../.mypy_cache/ansible ../$(BIN)/ansible-lint --offline --profile production -qq
	touch $@

types: setup
	$(BIN)/mypy

quick: setup
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not cloud and not node" --ignore=tests/jobs

# What fails beside other tests is tried once more alone, and named: a computer that is busy enough breaks any deadline.
unit: setup
	$(BIN)/pytest -q -n 4 --dist worksteal || { test $$? = 1 && \
		echo "what failed, once more, one at a time:" && $(BIN)/pytest -v -x --last-failed --last-failed-no-failures none; }

# Which lines no test runs; what forks and hosts run is not seen.
coverage: setup
	$(BIN)/pytest -q -n 3 --dist worksteal --cov=cli --cov=infra --cov=jobs --cov-report=term:skip-covered

# What needs neither torch nor a cloud, on every supported Python that is installed. Each gets an environment in .matrix/.
matrix:
	bash tests/matrix.sh

# docs/commands.md, from the help of every command, docs/json.md, from docs/schemas, and the pages as a site that needs no server: site/index.html
docs: setup .venv/site-ready
	$(BIN)/python -m tests.commands
	$(BIN)/python -m tests.schemas
	$(BIN)/mkdocs build --strict --quiet

.venv/site-ready: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements-dev.lock --editable '.[docs]'
	touch $@

# The pictures in README.md: a session on the local cloud, and a report (which needs chromium).
pictures: setup
	$(BIN)/python docs/record.py

# The playbook and the lease on a Debian that boots, with systemd, OpenSSH and cloud-init. Needs root, and Debian's packages
# apt-cacher-ng iproute2 mmdebstrap openssh-client systemd-container; says what is missing. Its cache: ~/.cache/gpujob-system.
# In the order that is written: a machine takes minutes to boot, and its tests are one story.
test-system: setup
	$(BIN)/pytest -q --seed 0 tests/system

# A sweep by the real Ray over two nodes of the local cloud: downloads 300 MB.
test-ray: setup
	$(BIN)/pytest -q tests/heavy/test_ray_tune.py

# Sent jobs whose machines and laptops are killed again and again, and many tasks: takes minutes.
test-sent: setup
	$(BIN)/pytest -q -n 0 tests/heavy --ignore=tests/heavy/test_ray_tune.py

# On a real AWS account, for people who have one; CI never runs it. Shows what it launches and the most it can cost (under $1), asks,
# removes everything, and writes aws-report.md: GPUJOB_TEST_AWS=1 make test-aws ARGS="--region us-east-1 --gpu"
test-aws: setup
	$(BIN)/python -m tests.aws $(ARGS)

# Which wrong lines no test notices: make mutants, make mutants MODULE=infra/project/rules.py. Takes from one minute to an hour for each module.
mutants: setup
	$(BIN)/python -m tests.mutants $(MODULE)

# Ratios against OpenSSH and rsync, measured in one run: make bench, make bench ARGS="--quick --rows run"
bench: setup
	$(BIN)/python -m tests.bench $(ARGS)

# How the cost of commands grows with files, jobs and outputs: make bench-growth, make bench-growth ARGS="--rows fetch --most 1000"
bench-growth: setup
	$(BIN)/python -m tests.bench.growth $(ARGS)

clean:
	rm -rf .venv .try .matrix site build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
