#!/usr/bin/env bash
# Check what neither ruff nor mypy reads: containers, shell scripts, workflows and the repository's forms.
# The linters are on PATH (`make lint-files` puts them there). Exit status: 0 all well, 1 something was found.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
status=0
schema() { check-jsonschema --quiet --builtin-schema "vendor.$1" "${@:2}" || status=1; }

hadolint --config .hadolint.yaml docker/Dockerfile docker/Dockerfile.jetpack || status=1
shellcheck .ci/run docker/entrypoint.sh docker/steps/*.sh tools/*.sh || status=1
actionlint || status=1
schema github-workflows .github/workflows/*.yml
schema github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
schema github-issue-config .github/ISSUE_TEMPLATE/config.yml
schema dependabot .github/dependabot.yml
schema citation-file-format CITATION.cff
exit $status
