#!/bin/sh
# What Docker knows of TinyClaw, a fact a line with tabs between, for `tinyclaw doctor`, which also carries this script in
# itself. With "numbers" also sizes and memory, which takes some seconds. Prints nothing when no Docker answers.
set -eu

tag="${TINYCLAW_TAG:-latest}"

command -v docker >/dev/null 2>&1 || exit 0
version="$(docker version --format '{{.Server.Version}}' 2>/dev/null)" || exit 0
printf 'engine\t%s\n' "$version"

for name in broker dashboard bot; do
    image="tinyclaw-$name:$tag"
    id="$(docker ps --filter "ancestor=$image" --format '{{.ID}}' | head -n 1)"
    if [ -n "$id" ]; then
        health="$(docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$id")"
        printf 'container\t%s\t%s\n' "$name" "$health"
    fi
    [ "${1:-}" = numbers ] || continue
    size="$(docker image inspect --format '{{.Size}}' "$image" 2>/dev/null)" || continue
    printf 'image\t%s\t%s\n' "$name" "$size"
    if [ -n "$id" ]; then
        printf 'memory\t%s\t%s\n' "$name" "$(docker stats --no-stream --format '{{.MemUsage}}' "$id")"
    fi
done

[ "${1:-}" = numbers ] || exit 0
docker history --human=false --no-trunc --format 'layer\t{{.Size}}\t{{.CreatedBy}}' "tinyclaw-bot:$tag" 2>/dev/null || true
