# The bot: telegram and processor under tinyclaw-bot as PID 1, with git, gh and the claude CLI.
#
# Needs BuildKit, and the repository's top as context. Nothing in it needs a registry but the base images, which can be
# given: --build-arg BASE=…, BUILDER=…, NODE=…. With BINARIES=prebuilt the programs (claude among them) are taken from
# dist/ instead of being built, and only BASE is needed.
ARG BASE=debian:bookworm-slim
ARG BUILDER=rust:1.95-bookworm
ARG NODE=node:22-bookworm-slim
ARG BINARIES=built

# The same words in all four Dockerfiles, so that one build serves them all. Static, so that they run on any base.
FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    programs="$(scripts/static-programs.sh)" \
    && mkdir /out \
    && find "$programs" -maxdepth 1 -type f -executable \( -name 'tinyclaw*' -o -name 'git-credential-*' \) \
        -exec cp '{}' /out/ ';'

FROM ${NODE} AS claude
COPY scripts/install-claude.sh scripts/claude.pins /
RUN mkdir /out && cp "$(TINYCLAW_TEST_CACHE=/cache /install-claude.sh)" /out/claude

FROM scratch AS built
COPY --from=build /out/ /
COPY --from=claude /out/ /

FROM scratch AS prebuilt
COPY dist/ /

# hadolint ignore=DL3006
FROM ${BINARIES} AS binaries

# hadolint ignore=DL3006
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates gh git openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 tinyclaw \
    && useradd --uid 10001 --gid 10001 --create-home --shell /bin/bash tinyclaw \
    && install --directory --owner 10001 --group 10001 --mode 2770 /app/.tinyclaw \
    && install --directory --owner 10001 --group 10001 --mode 0750 /workspace \
    && install --directory --mode 0711 /desks \
    && ln -s git-credential-tinyclaw /usr/local/bin/gh \
    && git config --system credential.https://github.com.helper tinyclaw \
    && git config --system credential.https://github.com.useHttpPath true
# Big and seldom changed first: a new TinyClaw replaces only the layers below.
COPY --from=binaries /claude /usr/local/bin/claude
# Also gh, before the real one in PATH: it fetches a token and hands over.
COPY --from=binaries /git-credential-tinyclaw /usr/local/bin/git-credential-tinyclaw
COPY --from=binaries /tinyclaw-leash /tinyclaw-demo-engine /usr/local/bin/
COPY --from=binaries /tinyclaw-bot /tinyclaw-processor /tinyclaw-telegram /tinyclaw /usr/local/bin/

ENV TINYCLAW_DIR=/app/.tinyclaw \
    TINYCLAW_HEALTH_LISTEN=0.0.0.0:7777 \
    WORKSPACE_ROOT=/workspace \
    DISABLE_AUTOUPDATER=1
WORKDIR /app
USER 10001:10001
EXPOSE 7777
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["tinyclaw-bot", "healthcheck"]
CMD ["tinyclaw-bot"]
