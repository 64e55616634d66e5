#!/bin/sh
# Installs the PostgreSQL server with whatever package manager is there.
set -eu
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
if command -v apt-get >/dev/null; then
  $sudo apt-get update -qq
  # Only the programs are wanted: tests start clusters of their own, so none is made or started here.
  $sudo mkdir -p /etc/postgresql-common/createcluster.d
  echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.d/none.conf >/dev/null
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql
elif command -v dnf >/dev/null; then
  $sudo dnf install -y postgresql-server
elif command -v apk >/dev/null; then
  $sudo apk add --no-cache postgresql
elif command -v pacman >/dev/null; then
  $sudo pacman -S --noconfirm postgresql
elif command -v brew >/dev/null; then
  brew install postgresql
else
  echo "initdb is missing and no known package manager was found: install PostgreSQL 14 or newer" >&2
  exit 1
fi
