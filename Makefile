# One verb per thing a person does here; `make help` lists them. Works without ROS 2 (wheels) and with it (sourced).
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.NOTPARALLEL:
# The ROS wheels' mark of an interpreter that has its library path; wrong for another environment's interpreter.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

# onnxruntime would report to its maker; the packages set this, too, and tools that load it before them do not.
export ORT_DISABLE_TELEMETRY ?= 1

VENV ?= .venv
ARGS ?=
MSGS ?= 1
TRAINING ?= 0
SECONDS ?= 60

LINT_FILES := $(VENV)/lint_files
DOCS := $(VENV)/docs
PY := $(VENV)/bin/python
STAMP := $(VENV)/.made
# Told apart once: with ROS 2 sourced its rclpy is used, otherwise the pinned wheels are.
ifneq ($(ROS_DISTRO),)
ROS_PYTHON := $(or $(PYTHON),python3)
ROS_SOURCED := $(shell env -u _ROS_WHEELS_BOOTSTRAP_COMPLETE $(ROS_PYTHON) -c 'import rclpy; print("yes")' 2>/dev/null)
endif
ifeq ($(ROS_SOURCED),yes)
KIND := ros-$(ROS_DISTRO)
HELD := $(STAMP)/held.txt
PYTHONS := $(ROS_PYTHON)
VENV_FLAGS := --system-site-packages
NOW := ROS 2 $(ROS_DISTRO) is sourced and used; vpr_msgs comes from your colcon workspace.
else
# An environment stays with the wheels that it was made with.
WHEELS ?= $(or $(patsubst $(STAMP)/wheels-%,%,$(firstword $(wildcard $(STAMP)/wheels-*))),kilted)
ROS_WHEELS := requirements/ros-$(WHEELS).txt
ifeq ($(wildcard $(ROS_WHEELS)),)
$(error WHEELS is $(WHEELS), expected one of: $(patsubst requirements/ros-%.txt,%,$(wildcard requirements/ros-*.txt)))
endif
KIND := wheels-$(WHEELS)
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3.10 python3)
VENV_FLAGS :=
NOW := no ROS 2 is sourced, so the wheels of $(WHEELS) are used; vpr_msgs is built from wheels too.
endif

PIP = $(PY) -m pip install --quiet --disable-pip-version-check --no-input $(if $(HELD),-c '$(HELD)')
SUITABLE := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
SHARED := package.xml launch config models
EXECUTABLES = $(shell sed -n "/^EXECUTABLES = (/,/^)/s/^ *'\(.*\)',$$/\1/p" setup.py)

.PHONY: help environment setup setup-test setup-training setup-lint setup-docs demo test coverage lint lint-code lint-files lint-docs docs \
    docs-serve reference format fuzz bench wheel release clean msgs workspace

help:
	@echo 'make setup            Python environment in $(VENV) with what the robot needs, without torch. Runs unattended.'
	@echo '                      ROS 2 sourced (ROS_DISTRO set, rclpy importable): uses that ROS. Otherwise: ROS 2 Kilted'
	@echo '                      wheels (Linux x86_64, Python 3.10 to 3.13), and vpr_msgs built where there is a compiler.'
	@echo 'make setup-training   the same, and torch and the other packages of the trainer.'
	@echo 'make demo             setup, then maps a drive, starts the node, replays a second drive, prints where the robot is.'
	@echo 'make test             setup, then the tests, as many files at once as there are cores (four at most).'
	@echo '                      TRAINING=1 with the trainer'\''s part; ARGS="-k name" goes to pytest, ARGS="-n 0" runs one by one.'
	@echo 'make lint             ruff, mypy --strict on both packages, checks of workflows, containers and scripts, and'
	@echo '                      the documentation. make format lets ruff rewrite the files.'
	@echo 'make docs             builds the documentation into site/, make docs-serve shows it while you write, and'
	@echo '                      make reference writes docs/reference from the code.'
	@echo 'make coverage         the tests, and the lines that they run; fails below the floor in pyproject.toml.'
	@echo 'make fuzz             broken input of every kind for SECONDS=60; ARGS="--target bag" chooses, see tools/fuzz.py.'
	@echo 'make bench            speed and memory compared with alternatives; writes docs/results/performance.md.'
	@echo 'make wheel            builds the wheel into dist/ and tests it in a clean environment.'
	@echo 'make release VERSION=X.Y.Z  the same with a new version: in package.xml and CHANGELOG.md, a commit and a tag.'
	@echo 'make workspace WS=DIR links this clone and its vpr_msgs into DIR/src, where colcon and rosdep find both.'
	@echo 'make clean            removes $(VENV), build, install, log and caches; keeps outputs/.'
	@echo
	@echo 'PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment, WHEELS=jazzy the wheels of ROS 2 Jazzy,'
	@echo 'MSGS=0 leaves out vpr_msgs.'
	@echo 'Now: $(NOW)'

# ---- environment. Each stamp holds until a file it was made from changes.

# What both packages need, without the packages: what a container has before it builds them.
environment: $(STAMP)/robot

setup: $(STAMP)/package msgs

setup-test: setup $(STAMP)/test $(STAMP)/batch $(STAMP)/fleet $(STAMP)/rerun $(STAMP)/test-tensorrt $(STAMP)/test-openvino $(if $(filter 1,$(TRAINING)),$(STAMP)/training)

setup-training: setup $(STAMP)/training

setup-lint: setup-test $(STAMP)/stubs $(STAMP)/lint-files setup-docs

setup-docs: $(STAMP)/docs

$(STAMP)/$(KIND):
	@python=; for candidate in $(PYTHONS); do \
	    if "$$candidate" -c '$(SUITABLE)' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo 'make: no Python 3.10 to 3.13 among: $(PYTHONS). Install one (Debian, Ubuntu: apt install python3 python3-venv) or say make setup PYTHON=/path/to/python3' >&2; exit 2; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "make: $$python has no venv module. Debian, Ubuntu: apt install python3-venv, then make setup again" >&2; exit 2; \
	fi; \
	if [ -n '$(ROS_WHEELS)' ] && [ "$$(uname -sm)" != 'Linux x86_64' ]; then \
	    echo "make: ROS 2 comes as wheels for Linux x86_64 only, this is $$(uname -sm). Source a ROS 2 installation (. /opt/ros/DISTRO/setup.sh), then make setup again; or install what needs no ROS 2 (build_map, evaluate_bag, calibrate, map) by: pip install ." >&2; exit 2; \
	fi; \
	echo "setup: environment $(VENV) with $$("$$python" --version) ($(KIND))"; \
	"$$python" -m venv --clear $(VENV_FLAGS) '$(VENV)'
	@mkdir -p '$(STAMP)' && touch '$@'

ifdef ROS_WHEELS
$(STAMP)/robot: requirements/robot.txt $(ROS_WHEELS) $(STAMP)/$(KIND)
	@echo 'setup: installing what the robot needs (0.7 GB on disk, about a minute) ...'
	@$(PIP) -r requirements/robot.txt -r $(ROS_WHEELS)
	@touch '$@'

# The script itself sees whether vpr_msgs/ changed.
msgs: $(STAMP)/robot
	@$(if $(filter 0,$(MSGS)),:,$(PY) tools/build_msgs.py)
else
# ROS's compiled packages (cv_bridge) load with the major version of numpy that they were built for. So pip holds to it whatever it
# installs later: the tools of the tests alone would bring another one.
$(STAMP)/robot: requirements/robot-on-ros.txt $(STAMP)/$(KIND)
	@echo 'setup: installing what the robot needs beside ROS 2 $(ROS_DISTRO) ...'
	@$(ROS_PYTHON) -c 'import numpy; print("numpy<%d" % (int(numpy.__version__.split(".")[0]) + 1))' >'$(HELD)' 2>/dev/null || \
	    echo 'numpy<2' >'$(HELD)'
	@$(PIP) -r requirements/robot-on-ros.txt $$($(PY) -c 'import cv2' 2>/dev/null || echo 'opencv-python-headless<5')
	@touch '$@'

msgs: $(STAMP)/robot
	@$(PY) -c 'from vpr_msgs.msg import PlaceMatchArray' 2>/dev/null || \
	    echo 'setup: vpr_msgs is not built; make workspace WS=DIR, there colcon build, then source install/setup.sh'
endif

# The sources stay where they are (editable); share/ and lib/vpr_ros get links, as colcon build --symlink-install makes them.
$(STAMP)/package: setup.py setup.cfg pyproject.toml package.xml $(STAMP)/robot
	@$(PIP) --no-deps --editable .
	@mkdir -p '$(VENV)/share/vpr_ros' '$(VENV)/lib/vpr_ros' '$(VENV)/share/ament_index/resource_index/packages'
	@ln -sfn '$(CURDIR)/resource/vpr_ros' '$(VENV)/share/ament_index/resource_index/packages/vpr_ros'
	@for name in $(SHARED); do ln -sfn "$(CURDIR)/$$name" '$(VENV)/share/vpr_ros/'; done
	@for name in $(EXECUTABLES); do ln -sfn "../../bin/$$name" '$(VENV)/lib/vpr_ros/'; done
	@echo "setup: done, $$(du -sh '$(VENV)' | cut -f 1) in $(VENV)"
	@touch '$@'

$(STAMP)/test: requirements/test.txt $(STAMP)/robot
	@echo 'setup: installing the test tools ...'
	@$(PIP) -r requirements/test.txt
	@touch '$@'

# Where there are no wheels of Ray the tests that need it skip and say so.
$(STAMP)/batch: requirements/batch.txt $(STAMP)/robot
	@echo 'setup: installing Ray for its tests (80 MB to load, 0.25 GB on disk) ...'
	@if $(PIP) -r requirements/batch.txt; then touch '$@'; else \
	    echo 'setup: Ray cannot be had here; its tests will be skipped'; fi

# The parser and the builder of TensorRT-RTX, in a folder of their own that only tests look into. Where there are no such
# wheels (they are for Linux x86_64) the tests that need them skip and say so.
$(STAMP)/test-tensorrt: requirements/test-tensorrt.txt $(STAMP)/robot
	@echo 'setup: installing TensorRT-RTX for its tests (0.1 GB to load, 0.2 GB on disk) ...'
	@if $(PIP) --no-deps --upgrade --target '$(VENV)/tensorrt_rtx' -r requirements/test-tensorrt.txt; then touch '$@'; else \
	    echo 'setup: TensorRT-RTX cannot be had here; its tests will be skipped'; fi

# In a folder of its own as well: among the others it would run the models of every test where it is faster.
$(STAMP)/test-openvino: requirements/test-openvino.txt $(STAMP)/robot
	@echo 'setup: installing OpenVINO for its tests (60 MB to load, 0.2 GB on disk) ...'
	@if $(PIP) --no-deps --upgrade --target '$(VENV)/openvino' -r requirements/test-openvino.txt; then touch '$@'; else \
	    echo 'setup: OpenVINO cannot be had here; its tests will be skipped'; fi

# Where there are no such wheels the fleet's tests skip and say so.
$(STAMP)/fleet: requirements/fleet.txt $(STAMP)/robot
	@echo 'setup: installing LanceDB for the fleet and its tests (130 MB to load, 0.4 GB on disk) ...'
	@if $(PIP) -r requirements/fleet.txt; then touch '$@'; else \
	    echo 'setup: LanceDB cannot be had here; the tests of the fleet will be skipped'; fi

# Where there are no such wheels, or ROS 2 has numpy 1, the tests of the log skip and say so.
$(STAMP)/rerun: requirements/rerun.txt $(STAMP)/robot
	@echo 'setup: installing Rerun for the tests of its log (170 MB to load, 0.5 GB on disk) ...'
	@if $(PIP) -r requirements/rerun.txt; then touch '$@'; else \
	    echo 'setup: Rerun cannot be had here; the tests of its log will be skipped'; fi

# Types alone, without the gigabytes of TensorRT that they name as their dependency, and those of ROS messages, which have none;
# only mypy looks there.
$(STAMP)/stubs: requirements/stubs.txt tools/message_stubs.py $(STAMP)/robot
	@$(PIP) --no-deps --upgrade --target '$(VENV)/stubs' -r requirements/stubs.txt
	@sed -i -E -e 's/\bin: list/in_: list/' -e 's/channel_axis: int\) -> IScaleLayer/channel_axis: int = ...) -> IScaleLayer/' \
	    '$(VENV)/stubs/tensorrt_bindings/tensorrt.pyi'  # two slips of syntax, at which mypy would stop
	@$(PY) tools/message_stubs.py '$(VENV)/stubs'
	@touch '$@'

# In an environment of its own, because nothing else needs it. They are programs for Linux x86_64 and arm64.
$(STAMP)/lint-files: requirements/lint-files.txt $(STAMP)/robot
	@$(PY) -m venv --clear '$(LINT_FILES)'
	@if '$(LINT_FILES)/bin/python' -m pip install --quiet --disable-pip-version-check --no-input \
	    -r requirements/lint-files.txt; then touch '$@'; else \
	    echo 'setup: the linters of workflows and containers cannot be had here; those files will not be checked'; fi

# In an environment of its own as well. They are for Python 3.11 and newer.
$(STAMP)/docs: requirements/docs.txt $(STAMP)/$(KIND)
	@echo 'setup: installing MkDocs for the documentation (30 MB to load, 0.2 GB on disk) ...'
	@$(PY) -m venv --clear '$(DOCS)'
	@if '$(DOCS)/bin/python' -m pip install --quiet --disable-pip-version-check --no-input \
	    -r requirements/docs.txt; then touch '$@'; else \
	    echo 'setup: MkDocs cannot be had here; the documentation will not be built'; fi

$(STAMP)/training: requirements/training.txt requirements/torchvision.txt $(STAMP)/robot
	@echo 'setup: installing what the trainer needs (torch and more, some minutes) ...'
	@$(PIP) -r requirements/training.txt
	@$(PIP) --no-deps --upgrade --target '$(VENV)/torchvision' -r requirements/torchvision.txt
	@touch '$@'

# Torch and the rest are only compared with; what is missing is left out of the table.
$(STAMP)/bench: requirements/bench.txt $(STAMP)/test
	@echo 'setup: installing what is compared with (torch, hnswlib; some minutes) ...'
	@$(PIP) -r requirements/bench.txt
	@$(PIP) hnswlib==0.8.0 || echo 'setup: hnswlib needs a C++ compiler and is left out of the table'
	@touch '$@'

# ---- what it is for

demo: setup
	@$(PY) demo/demo.py $(ARGS)

# A file's tests stay in one process, which makes what they share once. Four at most, because each may hold torch and start nodes.
test: setup-test
	@$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

# The slower way of `test`: nightly, because tracing costs more than a change should wait for (see pyproject.toml). The floor is of
# both packages, so that the trainer's part is needed.
coverage: setup-test $(STAMP)/training
	@$(PY) -m pytest --cov --cov-report=term:skip-covered --cov-report=html:outputs/coverage $(ARGS)

lint: setup-lint
	@status=0; \
	$(MAKE) --no-print-directory lint-code || status=1; \
	$(MAKE) --no-print-directory lint-files || status=1; \
	$(MAKE) --no-print-directory lint-docs || status=1; \
	exit $$status

lint-code: setup-lint
	@status=0; \
	$(PY) -m ruff check . || status=1; \
	$(PY) -m ruff format --check . || status=1; \
	MYPYPATH='$(VENV)/stubs' $(PY) -m mypy --strict || status=1; \
	exit $$status

# Workflows, containers, scripts and the forms of the repository, where the linters could be installed.
lint-files: setup-lint
	@if [ -e '$(STAMP)/lint-files' ]; then PATH="$$(realpath '$(LINT_FILES)')/bin:$$PATH" tools/lint_files.sh; \
	else echo 'lint: workflows, containers and scripts are not checked: their linters cannot be had here'; fi

# Every warning is an error. The tests compare docs/reference with the code.
docs: setup-docs
	@if [ ! -e '$(STAMP)/docs' ]; then \
	    echo 'make: MkDocs cannot be had here; it needs Python 3.11 or newer and a package index' >&2; exit 2; fi
	@NO_MKDOCS_2_WARNING=1 '$(DOCS)/bin/python' -m mkdocs build --strict --quiet
	@echo 'docs: site/index.html'

lint-docs: setup-docs
	@if [ -e '$(STAMP)/docs' ]; then $(MAKE) --no-print-directory docs; \
	else echo 'lint: the documentation is not built: MkDocs cannot be had here'; fi

docs-serve: setup-docs
	@NO_MKDOCS_2_WARNING=1 '$(DOCS)/bin/python' -m mkdocs serve $(ARGS)

reference: setup-test
	@$(PY) tools/reference.py $(ARGS)

format: setup-test
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

fuzz: setup-test
	@$(PY) tools/fuzz.py --seconds $(SECONDS) $(ARGS)

bench: setup-test $(STAMP)/bench
	@$(PY) benchmarks/performance.py $(ARGS)

wheel: setup-test
	@$(PY) tools/release.py wheel

release: setup-test
	@$(PY) tools/release.py release '$(VERSION)'

# For a person with ROS 2; needs no environment of ours.
workspace:
	@$(or $(PYTHON),python3) tools/workspace.py '$(WS)'

clean:
	rm -rf '$(VENV)' build install log dist site .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
