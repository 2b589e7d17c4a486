#!/usr/bin/env bash
# Everything the project needs on a fresh Debian 12, idempotent: apt packages, .venv, the page's libraries,
# loaders and (for the lab) the live image. Used by `make setup`, the Dockerfile and the Debian package alike.
#
#   .setup/setup.sh [runtime|lab|test]   each includes the ones before it; default lab
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-lab}
case $what in runtime | lab | test) ;; *)
    echo "usage: $0 [runtime|lab|test]" >&2
    exit 2
    ;;
esac
cache=.cache
mkdir -p "$cache"

say() { printf '\033[1m%s\033[0m\n' "setup: $*" >&2; }

# --- Debian packages: asked of dpkg first, so that nothing is done (and no root needed) when all are there.
lists=(.setup/apt-runtime.txt)
[[ $what == runtime ]] || lists+=(.setup/apt-lab.txt)
[[ $what != test ]] || lists+=(.setup/apt-test.txt)
mapfile -t wanted < <(sed 's/#.*//' "${lists[@]}" | awk 'NF')
vendor=provisioner/web/static/vendor
page=$vendor/.setup-$(cat .setup/package.json .setup/package-lock.json | sha256sum | cut -c1-16)
# npm is nothing that runs later: it is asked for only while the page's libraries are to be fetched.
[[ -e $page ]] || command -v npm >/dev/null || wanted+=(npm)
missing=()
installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null || true)
for package in "${wanted[@]}"; do
    grep -qx "$package installed" <<<"$installed" || missing+=("$package")
done
if ((${#missing[@]})); then
    if ((EUID)); then
        echo "setup: these Debian packages are missing and only root can install them: ${missing[*]}" >&2
        echo "setup: run 'sudo make setup', or 'apt-get install ${missing[*]}'" >&2
        exit 1
    fi
    say "installing ${#missing[@]} Debian packages"
    export DEBIAN_FRONTEND=noninteractive
    # Packages that bring services must not start them: no DHCP, TFTP or database server appears by set-up.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" >"$cache/apt.log" 2>&1 || {
        tail -n 20 "$cache/apt.log" >&2
        exit 1
    }
fi

# --- Python: pinned and hashed; redone only when the lists change. The stamp lies in the .venv it speaks of, and
# the test set includes the runtime set: a smaller later request finds its work done.
lock=.setup/requirements.txt
[[ $what != test ]] || lock=.setup/requirements-dev.txt
stamp_of() { cat "$@" pyproject.toml | sha256sum | cut -c1-16; }
runtime=.venv/.setup-runtime-$(stamp_of .setup/requirements.txt)
tested=.venv/.setup-test-$(stamp_of .setup/requirements.txt .setup/requirements-dev.txt)
built=$runtime
[[ $what != test ]] || built=$tested
if [[ ! -x .venv/bin/provisioner || (! -e $built && ! -e $tested) ]]; then
    say "installing Python packages into .venv"
    [[ -x .venv/bin/python ]] || python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    touch "$built"
fi
# The program itself too, for those who run it and may not write here: compiled once, a command starts in half the time.
.venv/bin/python -m compileall -q provisioner migrations

# --- The page's libraries, served locally.
if [[ ! -e $page ]]; then
    say "fetching the page's libraries"
    mkdir -p "$cache/npm" "$vendor"
    cp .setup/package.json .setup/package-lock.json .setup/.npmrc "$cache/npm/"
    (cd "$cache/npm" && npm ci --silent --ignore-scripts --no-progress)
    cp "$cache/npm/node_modules/htmx.org/dist/htmx.min.js" \
        "$cache/npm/node_modules/htmx.org/dist/ext/hx-sse.min.js" "$vendor/"
    touch "$page"
fi

# --- What machines load first; and the lab's stand-in for a Flatcar release.
netboot_assets/loaders/build.sh
[[ $what == runtime ]] || netboot_assets/lab-image/build.sh
