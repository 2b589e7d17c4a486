#!/bin/bash
# Builds the lab's stand-in for a Flatcar release from Debian packages into OUT.
#
#   build.sh [OUT]        default: netboot_assets/build/images/flatcar/lab
#
# apt resolves, downloads and verifies: which mirror, proxy and keys is the machine's own business and
# appears nowhere here. Packages are unpacked and never configured (the result has no package manager,
# like the system it stands in for), which takes seconds where debootstrap takes minutes.
set -euo pipefail
export LC_ALL=C

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
readonly BUILD=$HERE/../build
OUT=${1:-$BUILD/images/flatcar/lab}
mkdir -p "$(dirname "$OUT")"
OUT=$(realpath -m "$OUT")
readonly OUT
readonly CACHE=$BUILD/cache/lab-image
readonly STAMP=${OUT%/*}/.${OUT##*/}.stamp
readonly BOOT_MIB=32 ROOT_MIB=192 # zeros cost time to write too; flatcar-install grows the root to its disk
readonly SHIM=/usr/lib/shim/shimx64.efi.signed SIGNED_GRUB=/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed
JOBS=$(nproc)
readonly JOBS
export TREE

log() { echo "lab-image: $*"; }
die() {
    echo "lab-image: $*" >&2
    exit 1
}

require_tools() {
    local tool missing=()
    for tool in apt-get dpkg-deb depmod cpio lbzip2 mke2fs mkfs.vfat mcopy syslinux sfdisk; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    for tool in "$SHIM" "$SIGNED_GRUB"; do
        [[ -e $tool ]] || missing+=("$tool")
    done
    ((${#missing[@]} == 0)) || die "not installed: ${missing[*]} (see .setup/apt-lab.txt)"
    ((EUID == 0)) || die "needs root: files in the image belong to root, and chroot finishes it"
}

# --- what would be built --------------------------------------------------------------------------

wanted_packages() { sed -e 's/#.*//' -e '/^-/d' -e '/^ *$/d' "$HERE/packages.txt"; }
left_out() { sed -n 's/^-//p' "$HERE/packages.txt"; }

# apt with an empty machine in mind: nothing is installed, everything is to be downloaded.
apt() {
    apt-get -qq -y -o Dir::State::status="$CACHE/status" -o Dir::State::extended_states="$CACHE/extended" \
        -o Dir::Cache="$CACHE" -o APT::Sandbox::User=root \
        -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Install-Recommends=0 "$@"
}

resolve() {
    local wanted
    mapfile -t wanted < <(wanted_packages)
    # 'URI' name size hash, one package a line; the name holds package and version. apt does not list
    # what is downloaded already, hence the directory that stays empty.
    mkdir -p "$CACHE/nothing/partial"
    apt -o Dir::Cache::archives="$CACHE/nothing" --print-uris install "${wanted[@]}" |
        awk 'NR == FNR { left_out[$1]; next } { name = $2; sub("_.*", "", name) } !(name in left_out) { print $2 }' \
            <(left_out) - | sort
}

# Everything but apt's answer: costs a tenth of a second and is enough to see that nothing changed.
quick_key() {
    {
        find "$HERE" -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sed "s,$HERE/,,"
        dpkg-query -W shim-signed grub-efi-amd64-signed syslinux-common dosfstools e2fsprogs
        find /etc/apt /var/lib/apt/lists -type f -printf '%p %s %T@\n' | sort
    } | sha256sum | cut -d ' ' -f 1
}

full_key() {
    {
        find "$HERE" -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sed "s,$HERE/,,"
        dpkg-query -W shim-signed grub-efi-amd64-signed syslinux-common dosfstools e2fsprogs
        cat "$CACHE/resolved"
    } | sha256sum | cut -d ' ' -f 1
}

# --- the tree that both the live system and the disk are made of ----------------------------------

download() {
    local wanted
    mapfile -t wanted < <(wanted_packages)
    mkdir -p "$CACHE/archives/partial"
    apt -o Dir::Cache::archives="$CACHE/archives" --download-only install "${wanted[@]}" || die "download failed (is apt-get update needed?)"
}

unpack_one() {
    dpkg-deb --fsys-tarfile "$1" | tar -x -C "$TREE" --keep-directory-symlink \
        --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/info' \
        --exclude='./usr/share/locale' --exclude='./usr/share/lintian' --exclude='./usr/share/i18n' \
        --exclude='./usr/share/bash-completion' --exclude='./usr/share/zsh' --exclude='./usr/share/perl5' \
        --exclude='./usr/lib/x86_64-linux-gnu/gconv' --exclude='./usr/lib/x86_64-linux-gnu/perl*' \
        --exclude='./lib/udev/hwdb.d' --exclude='./usr/lib/udev/hwdb.d' --exclude='./usr/share/initramfs-tools' \
        --exclude='./lib/systemd/catalog' --exclude='./usr/lib/systemd/catalog' --exclude='./usr/share/menu'
}
export -f unpack_one

unpack() {
    local directory
    for directory in bin sbin lib lib64 lib32 libx32; do # Debian's merged /usr, before anything lands in it
        mkdir -p "$TREE/usr/$directory"
        ln -s "usr/$directory" "$TREE/$directory"
    done
    grep -v '^linux-image-' "$CACHE/resolved" | sed "s,^,$CACHE/archives/," |
        xargs -P "$JOBS" -I {} bash -euo pipefail -c 'unpack_one {}'
    KERNEL_DEB=$CACHE/archives/$(grep -m 1 '^linux-image-[0-9]' "$CACHE/resolved")
    dpkg-deb -x "$KERNEL_DEB" "$WORK/kernel"
    KERNEL=$(basename "$WORK"/kernel/lib/modules/*)
    depmod -b "$WORK/kernel" "$KERNEL"
}

# Copies modules with what they depend on: copy_modules DESTINATION MODULE...
copy_modules() {
    local destination=$1 module file
    shift
    for module in "$@"; do
        # A name that this kernel does not have, or has built in, prints no path: that is fine.
        { modprobe -d "$WORK/kernel" -S "$KERNEL" --show-depends "$module" 2>/dev/null || true; } |
            sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | sort -u | while read -r file; do
        install -D -m 0644 "$file" "$destination/${file#"$WORK"/kernel/}"
    done
    cp "$WORK/kernel/lib/modules/$KERNEL"/modules.{order,builtin,builtin.modinfo} "$destination/lib/modules/$KERNEL/"
    depmod -b "$destination" "$KERNEL"
}

# What Debian's maintainer scripts would have done, as far as this system needs it.
configure() {
    local name module_names
    cp "$TREE/usr/share/base-passwd/passwd.master" "$TREE/etc/passwd"
    cp "$TREE/usr/share/base-passwd/group.master" "$TREE/etc/group"
    printf '%s\n' 'passwd: files' 'group: files' 'shadow: files' 'hosts: files dns' >"$TREE/etc/nsswitch.conf"
    cp "$TREE/usr/share/base-files/profile" "$TREE/etc/profile"
    sed -i 's,^root:[^:]*:\(.*\),root:x:\1,' "$TREE/etc/passwd"
    echo 'core:x:500:500:CoreOS Admin:/home/core:/bin/bash' >>"$TREE/etc/passwd"
    echo 'core:x:500:' >>"$TREE/etc/group"
    install -d -m 0755 -o 500 -g 500 "$TREE/home/core"
    echo 'u messagebus - "System message bus"' >"$TREE/usr/lib/sysusers.d/dbus.conf"
    # No password opens anything: every account is locked until a cloud-config says otherwise.
    awk -F : '{ print $1 ":*:1:0:99999:7:::" }' "$TREE/etc/passwd" >"$TREE/etc/shadow"
    chmod 0600 "$TREE/etc/shadow"
    SYSTEMD_LOG_LEVEL=warning chroot "$TREE" systemd-sysusers
    for name in auth account password session; do
        echo "$name required pam_unix.so" >"$TREE/etc/pam.d/common-$name"
    done
    cp "$TREE/etc/pam.d/common-session" "$TREE/etc/pam.d/common-session-noninteractive"

    ln -sf mawk "$TREE/usr/bin/awk"
    ln -sf which.debianutils "$TREE/usr/bin/which"
    find "$TREE/usr/share/ca-certificates" -name '*.crt' -exec awk 1 {} + >"$TREE/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$TREE/usr/share/ca-certificates"
    chroot "$TREE" ldconfig

    cp -rT --no-preserve=ownership "$HERE/overlay" "$TREE"
    install -m 0755 "$HERE/coreos_cloudinit.py" "$TREE/usr/bin/coreos-cloudinit"
    install -m 0755 "$HERE/flatcar-install" "$TREE/usr/bin/flatcar-install"
    ln -s flatcar-install "$TREE/usr/bin/coreos-install"

    mkdir -p "$TREE"/{proc,sys,dev,run,tmp,root,mnt,srv,boot,var/tmp,var/lib,etc/systemd/network}
    chmod 1777 "$TREE/tmp" "$TREE/var/tmp"
    mknod -m 0600 "$TREE/dev/console" c 5 1 # the kernel opens it before there is a devtmpfs
    ln -sf usr/lib/systemd/systemd "$TREE/init"
    ln -sf ../lib/systemd/systemd "$TREE/usr/sbin/init"
    ln -sfn /run "$TREE/var/run"
    ln -sfn ../run/systemd/resolve/stub-resolv.conf "$TREE/etc/resolv.conf"
    echo localhost >"$TREE/etc/hostname"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$TREE/etc/hosts"
    : >"$TREE/etc/machine-id" # empty: each boot of the live system is another machine
    : >"$TREE/etc/fstab"
    printf 'Provisioner lab image \\n \\l\n\n' >"$TREE/etc/issue"
    rm -f "$TREE/etc/os-release"
    cat >"$TREE/usr/lib/os-release" <<END
NAME="Provisioner lab image"
ID=provisioner-lab
ID_LIKE="flatcar debian"
VERSION_ID=lab
BUILD_ID=${KEY:0:12}
PRETTY_NAME="Provisioner lab image (Debian userland, Flatcar layout)"
END
    ln -s ../usr/lib/os-release "$TREE/etc/os-release"

    mapfile -t module_names < <(sed -e 's/#.*//' -e '/^ *$/d' "$HERE/modules.txt")
    copy_modules "$TREE" "${module_names[@]}"

    chroot "$TREE" systemctl --quiet set-default multi-user.target
    chroot "$TREE" systemctl --quiet enable systemd-networkd.service systemd-resolved.service \
        systemd-networkd-wait-online.service coreos-cloudinit-url.service \
        user-cloudinit@flatcar.service user-cloudinit@coreos.service
    # Each of these costs boot time under emulation and does nothing for a machine of the lab.
    chroot "$TREE" systemctl --quiet mask systemd-hwdb-update.service systemd-journal-catalog-update.service \
        systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service \
        systemd-tmpfiles-clean.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
        systemd-logind.service systemd-firstboot.service systemd-random-seed.service \
        sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount \
        sys-fs-fuse-connections.mount modprobe@fuse.service modprobe@drm.service modprobe@efi_pstore.service \
        getty@tty1.service getty-static.service systemd-ask-password-wall.path systemd-machine-id-commit.service
}

# The image is made of parts of packages: prove that no program is without its libraries, and that the
# reader finds every module. Running it once also leaves the byte code that each boot would write again.
prove() {
    local missing
    # shellcheck disable=SC2016  # the script is for the shell inside
    missing=$(chroot "$TREE" /bin/bash -c '
        for file in /usr/bin/* /usr/sbin/* /usr/lib/systemd/systemd* /usr/lib/systemd/lib*.so; do
            if [ -f "$file" ] && [ ! -h "$file" ]; then
                /lib64/ld-linux-x86-64.so.2 --list "$file" 2>/dev/null | sed -n "s,^.*not found,$file: &,p"
            fi
        done')
    [[ -z $missing ]] || die "programs without their libraries:
$missing"
    printf '#cloud-config\nhostname: proof\nwrite_files:\n  - {path: /a, encoding: gzip+base64, content: ""}\n' \
        >"$TREE/tmp/proof.yml"
    chroot "$TREE" coreos-cloudinit --from-file /tmp/proof.yml --root /tmp/proof >"$WORK/proof" 2>&1 ||
        grep -q 'line 4: error: content cannot be decoded' "$WORK/proof" || die "the reader does not run: $(<"$WORK/proof")"
    rm -rf "$TREE"/tmp/*
}

# --- the three artefacts ---------------------------------------------------------------------------

pack_live() {
    (cd "$TREE" && find . -print0 | LC_ALL=C sort -z | cpio --quiet --null -o -H newc) |
        gzip -6 >"$NEW/flatcar_production_pxe_image.cpio.gz"
    cp "$WORK/kernel/boot/vmlinuz-$KERNEL" "$NEW/flatcar_production_pxe.vmlinuz"
    chmod 0644 "$NEW"/flatcar_production_pxe*
}

pack_disk_initrd() {
    local root=$WORK/disk-root
    mkdir -p "$root/bin" "$root/dev"
    cp "$TREE/bin/busybox" "$root/bin/"
    install -m 0755 "$HERE/disk/init" "$root/init"
    mknod -m 0600 "$root/dev/console" c 5 1
    copy_modules "$root" virtio_pci virtio_blk virtio_scsi ahci nvme sd_mod ext4
    (cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --quiet --null -o -H newc) | gzip -9 >"$WORK/initrd.gz"
}

# One image for BIOS and UEFI: an MBR whose bootable 0xEF partition holds syslinux and a GRUB side by
# side, with one signed kernel for both. Only files are written, no loop device is needed.
pack_disk() {
    local boot=$WORK/boot.fat root=$WORK/root.ext4 disk=$WORK/disk.img first=2048
    pack_disk_initrd
    truncate -s "${BOOT_MIB}M" "$boot"
    mkfs.vfat -n BOOT "$boot" >/dev/null
    syslinux --install "$boot"
    mmd -i "$boot" ::/EFI ::/EFI/BOOT ::/EFI/debian
    mcopy -i "$boot" "$WORK/kernel/boot/vmlinuz-$KERNEL" ::/vmlinuz
    mcopy -i "$boot" "$WORK/initrd.gz" "$HERE/disk/syslinux.cfg" ::/
    # As on an installed Debian, so that the disk starts with Secure Boot on as well: shim beside Debian's signed
    # GRUB, which looks for its config in /EFI/debian.
    mcopy -i "$boot" "$SHIM" ::/EFI/BOOT/BOOTX64.EFI
    mcopy -i "$boot" "$SIGNED_GRUB" ::/EFI/BOOT/grubx64.efi
    mcopy -i "$boot" "$HERE/disk/grub.cfg" ::/EFI/debian/grub.cfg

    truncate -s "${ROOT_MIB}M" "$root"
    # Everything initialised here: a lazy file system would go on writing behind the first boot's back.
    mke2fs -q -t ext4 -L ROOT -m 0 -J size=8 -E lazy_itable_init=0,lazy_journal_init=0 -d "$TREE" "$root"

    truncate -s "$((1 + BOOT_MIB + ROOT_MIB))M" "$disk"
    sfdisk --quiet "$disk" <<END
label: dos
start=$first, size=${BOOT_MIB}MiB, type=ef, bootable
start=$((first + BOOT_MIB * 2048)), size=${ROOT_MIB}MiB, type=83
END
    dd if=/usr/lib/syslinux/mbr/mbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none
    dd if="$boot" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
    dd if="$root" of="$disk" bs=1M seek="$((1 + BOOT_MIB))" conv=notrunc,sparse status=none
    # Blocks of 100 kB: 3 % larger than those of 900 kB, and unpacked in two thirds of the time, because a block stays
    # in the processor's cache.
    lbzip2 -n "$JOBS" -1 -c "$disk" >"$NEW/flatcar_production_image.bin.bz2"
}

describe() {
    local file
    cat >"$NEW/version.txt" <<END
FLATCAR_BUILD=0
FLATCAR_BRANCH=0
FLATCAR_PATCH=0
FLATCAR_VERSION=lab
FLATCAR_VERSION_ID=lab
FLATCAR_BUILD_ID="${KEY:0:12}"
FLATCAR_SDK_VERSION=none
END
    for file in flatcar_production_image.bin.bz2 flatcar_production_pxe.vmlinuz flatcar_production_pxe_image.cpio.gz; do
        (
            cd "$NEW"
            echo "# SHA256 HASH"
            sha256sum "$file"
            echo "# SHA512 HASH"
            sha512sum "$file"
        ) >"$NEW/$file.DIGESTS"
    done
}

publish() {
    if [[ -e $OUT ]]; then
        mv -T "$OUT" "$WORK/old"
    fi
    mv -T "$NEW" "$OUT"
    printf '%s\n%s\n' "$QUICK" "$KEY" >"$STAMP.new"
    mv "$STAMP.new" "$STAMP"
}

main() {
    local started=$SECONDS quick_was='' key_was=''
    QUICK=$(quick_key)
    if [[ -e $OUT/flatcar_production_image.bin.bz2.DIGESTS && -e $STAMP ]]; then
        { read -r quick_was && read -r key_was; } <"$STAMP" || true
    fi
    if [[ $quick_was == "$QUICK" ]]; then
        log "up to date: $OUT"
        return
    fi
    require_tools
    mkdir -p "$CACHE"
    : >"$CACHE/status"
    exec 9>"$CACHE/lock"
    flock 9 # two builds of one checkout take turns
    resolve >"$CACHE/resolved"
    [[ -s $CACHE/resolved ]] || die "apt resolves nothing (is apt-get update needed?)"
    KEY=$(full_key)
    if [[ $key_was == "$KEY" ]]; then # apt's lists are newer, what they say of these packages is the same
        printf '%s\n%s\n' "$QUICK" "$KEY" >"$STAMP"
        log "up to date: $OUT"
        return
    fi

    WORK=$(mktemp -d "${OUT%/*}/.build.XXXXXX") # beside OUT: publishing is a rename
    trap 'rm -rf "$WORK"' EXIT
    TREE=$WORK/tree NEW=$WORK/new
    mkdir -p "$TREE" "$NEW"
    download
    log "packages there after $((SECONDS - started)) s"
    unpack
    configure
    prove
    log "tree ready after $((SECONDS - started)) s: $(du -sh "$TREE" | cut -f 1)"
    pack_live &
    local live=$!
    pack_disk
    wait "$live"
    describe
    publish
    log "built in $((SECONDS - started)) s: $(du -sh "$OUT" | cut -f 1) in $OUT"
}

main
