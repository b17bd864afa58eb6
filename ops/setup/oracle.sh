#!/usr/bin/env bash
# What `make oracle` needs: libclang, which builds the parser's bindings, and the statements of PostgreSQL's regression
# suite.
#   ops/setup/oracle.sh DIRECTORY     the suite's files are in its sql/ afterwards
set -euo pipefail
here=$(dirname "$0")

has_libclang() {
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || ldconfig -p | grep -q 'libclang'
}

has_libclang || "$here/apt.sh" libclang-dev
exec "$here/suite.sh" "$1"
