#!/usr/bin/env bash
# Installs what checks the scripts of ops.
set -euo pipefail
here=$(dirname "$0")

command -v shellcheck >/dev/null || "$here/apt.sh" shellcheck
