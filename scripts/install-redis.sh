#!/bin/sh
# Installs redis-server with whatever package manager is there.
set -eu
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
if command -v apt-get >/dev/null; then
  $sudo apt-get update -qq
  # Only the program is wanted: tests start servers of their own, so none is started here.
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server
elif command -v dnf >/dev/null; then
  $sudo dnf install -y redis
elif command -v apk >/dev/null; then
  $sudo apk add --no-cache redis
elif command -v pacman >/dev/null; then
  $sudo pacman -S --noconfirm redis
elif command -v brew >/dev/null; then
  brew install redis
else
  echo "redis-server is missing and no known package manager was found: install Redis 7 or newer" >&2
  exit 1
fi
