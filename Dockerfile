# Footage in an image: built in one, run in a small other. docs/cluster.md says what of this was tried.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY .ci/packages.sh .ci/packages.sh
RUN bash -c '. .ci/packages.sh && apt-get update && apt-get install -y --no-install-recommends "${RUN_PACKAGES[@]}"'
COPY . .
RUN cargo build --release --locked -p footage && strip -o /footage target/release/footage

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
      ca-certificates curl libssl3 glib-networking \
      gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/footage --create-home footage
COPY --from=build /footage /usr/local/bin/footage
COPY configs/cluster.toml /etc/footage/cluster.toml
USER footage
VOLUME /var/lib/footage
ENV FOOTAGE__DATA__DIR=/var/lib/footage
ENTRYPOINT ["footage", "--config", "/etc/footage/cluster.toml"]
CMD ["doctor"]
