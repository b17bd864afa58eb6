# pgweir: built in one stage, shipped in another that holds the program, its entrypoint and a shell.
#   docker build -t pgweir .

FROM rust:1-slim-bookworm AS build
WORKDIR /build
# The dependencies by themselves, so that a change of ours does not build them again.
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches ./benches
RUN mkdir src tests && echo 'fn main() {}' >src/main.rs && : >src/lib.rs \
    && cargo build --release --locked --bin pgweir && rm -rf src
COPY src ./src
RUN touch src/main.rs src/lib.rs && cargo build --release --locked --bin pgweir

FROM debian:bookworm-slim
COPY --from=build /build/target/release/pgweir /usr/local/bin/pgweir
COPY ops/pgweir/entrypoint.sh ops/pgweir/healthy.sh /usr/local/lib/pgweir/
COPY config/stack.toml /etc/pgweir/pgweir.toml
# A number, so that an orchestrator can see that it is not root's. /run/pgweir is where the entrypoint writes the user list.
RUN useradd --system --uid 6432 --no-create-home --shell /usr/sbin/nologin pgweir \
    && install -d -o pgweir -g pgweir -m 0700 /run/pgweir /var/lib/pgweir
USER 6432:6432
EXPOSE 6432 9632
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/local/lib/pgweir/healthy.sh"]
ENTRYPOINT ["/usr/local/lib/pgweir/entrypoint.sh"]
CMD ["run", "/etc/pgweir/pgweir.toml"]
