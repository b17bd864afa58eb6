#!/usr/bin/env bash
# What building needs: a Rust toolchain, which we do not choose for anybody, and a C compiler for `ring`.
#   ops/setup/rust.sh [--test]     --test: rustfmt, clippy and cargo-nextest too
set -euo pipefail
here=$(dirname "$0")

if ! command -v cargo >/dev/null; then
    echo "No cargo in PATH: please install Rust (rustup, or Debian's cargo where it is new enough)." >&2
    exit 1
fi
command -v cc >/dev/null || "$here/apt.sh" gcc libc6-dev

[ "${1-}" = --test ] || exit 0
for component in fmt clippy; do
    cargo "$component" --version >/dev/null || rustup component add "${component/#fmt/rustfmt}"
done
if ! cargo nextest --version >/dev/null 2>&1; then
    echo "Installing cargo-nextest: a few minutes, once"
    cargo install cargo-nextest --locked
fi
