# One command each; `make help` lists them. Everything Python runs from .venv.
PREPARE = python=$$(sh scripts/find-python) && "$$python" scripts/prepare.py
PYTHON_VENV = .venv/bin/python
UV = $(PYTHON_VENV) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

.PHONY: help run test check audit bench lock clean

help:
	@echo "make run              start Palyra with a demo, Ctrl-C stops it"
	@echo "make test [ARGS=…]    all tests, on SQLite and on PostgreSQL; ARGS go to pytest"
	@echo "make check            lint, format, types, import contracts, migrations, OpenAPI drift"
	@echo "make audit            known vulnerabilities in the pinned packages"
	@echo "make bench [ONLY=…]   benchmarks, each beside a plain alternative"
	@echo "make lock             pin requirements*.in with hashes"
	@echo "make clean            remove .venv and caches; the home directory stays"

run:
	@$(PREPARE) run
	@exec $(PYTHON_VENV) manage.py up

test:
	@$(PREPARE) test
	@exec $(PYTHON_VENV) -m tests.run $(ARGS)

check:
	@$(PREPARE) tools
	@exec $(PYTHON_VENV) scripts/check.py

audit:
	@$(PREPARE) tools
	@exec $(PYTHON_VENV) scripts/audit.py

bench:
	@$(PREPARE) test
	@exec $(PYTHON_VENV) -m benchmarks.run $(ONLY)

lock:
	@$(PREPARE) tools
	$(UV) requirements.in -o requirements.txt
	$(UV) requirements-dev.in -o requirements-dev.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
