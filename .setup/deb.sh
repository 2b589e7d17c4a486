#!/usr/bin/env bash
# build/provisioner_VERSION_ARCH.deb: the appliance without the lab, its Python packages from the locked list.
# Needs what `make setup` needs, and no root.
set -euo pipefail
cd "$(dirname "$0")/.."
.setup/setup.sh runtime

here=.setup/debian
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
arch=$(dpkg --print-architecture)
deb=build/provisioner_${version}_$arch.deb
# The same tree gives the same package: times are those of its last commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y pyproject.toml)}
export SOURCE_DATE_EPOCH
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 0755 "$stage"
umask 022

# --- Python: an environment on Debian's own interpreter, without pip; the launcher is all that is called.
home=$stage/usr/lib/provisioner
/usr/bin/python3 -m venv --without-pip "$home"
sed -i '/^command = /d' "$home/pyvenv.cfg"
pip=(.venv/bin/python -m pip --python "$home/bin/python3" --quiet --disable-pip-version-check)
"${pip[@]}" install --no-compile --require-hashes -r .setup/requirements.txt
.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w "$stage/wheel" .
"${pip[@]}" install --no-compile --no-deps --no-index "$stage"/wheel/*.whl
# What only built wheels, and scripts that name the build's paths.
"${pip[@]}" uninstall --yes setuptools wheel
rm -rf "$stage/wheel"
find "$home/bin" -mindepth 1 ! -name python3 -delete
rm -rf "$home/include" "$home/share"
ln -sf /usr/bin/python3 "$home/bin/python3"
site=$(echo "$home"/lib/python3*/site-packages)
find "$site" -name direct_url.json -delete
packaged=$site/provisioner
cp -r netboot_assets/build "$packaged/_netboot_assets/build.all"
mkdir "$packaged/_netboot_assets/build"
mv "$packaged/_netboot_assets/build.all/loaders" "$packaged/_netboot_assets/build/"
rm -rf "$packaged/_netboot_assets/build.all" "$packaged/_netboot_assets/build/loaders/.stamp"
# Roles are an operator's to edit: they are configuration.
install -d "$stage/etc/provisioner"
mv "$packaged/_cloud_configs" "$stage/etc/provisioner/cloud_configs"
# The services may not write here: what Python would compile at the first start is compiled now.
.venv/bin/python -m compileall -q -s "$stage" --invalidation-mode unchecked-hash "$site"

# --- Everything else
install -D -m 0755 $here/provisioner "$stage/usr/bin/provisioner"
install -D -m 0644 $here/provisioner.toml "$stage/etc/provisioner/provisioner.toml"
install -D -m 0644 $here/journald@provisioner.conf "$stage/etc/systemd/journald@provisioner.conf"
install -d "$stage/lib/systemd"
cp -r $here/systemd "$stage/lib/systemd/system"
install -d "$stage/usr/share/doc/provisioner"
install -m 0644 README.md CHANGELOG.md docs/*.md "$stage/usr/share/doc/provisioner/"
chmod -R u=rwX,go=rX "$stage/usr" "$stage/lib" "$stage/etc"

# --- Its description
install -d "$stage/DEBIAN"
install -m 0755 $here/postinst $here/prerm $here/postrm "$stage/DEBIAN/"
(cd "$stage" && find etc -type f -printf '/%p\n' | sort) >"$stage/DEBIAN/conffiles"
(cd "$stage" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
python=$(/usr/bin/python3 -c 'import sys; print(f"3.{sys.version_info.minor}")')
cat >"$stage/DEBIAN/control" <<CONTROL
Package: provisioner
Version: $version
Architecture: $arch
Maintainer: Provisioner <root@localhost>
Section: admin
Priority: optional
Depends: python3 (>= $python), python3 (<< 3.$((${python#3.} + 1))), iproute2, libpcap0.8, passwd, util-linux
Recommends: nftables, gpgv
Installed-Size: $(du -sk --exclude=DEBIAN "$stage" | cut -f1)
Description: bare-metal provisioning appliance
 DHCP, TFTP and HTTP from one inventory that is read out of the servers' BMCs; a page and an API for people.
 The services are systemd units with no more rights than each needs. Nothing is served before a wire is named.
CONTROL
mkdir -p build
dpkg-deb --root-owner-group --build -Zxz -z1 "$stage" "$deb" >/dev/null
echo "$deb"
