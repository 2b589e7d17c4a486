#!/bin/bash
# Collects what machines load first into OUT, with a manifest.json that says what each file is.
#
#   build.sh [OUT]        default: netboot_assets/build/loaders
set -euo pipefail
export LC_ALL=C

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
OUT=${1:-$HERE/../build/loaders}
mkdir -p "$(dirname "$OUT")"
OUT=$(realpath -m "$OUT")
readonly OUT

die() {
    echo "loaders: $*" >&2
    exit 1
}

version() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null || die "package $1 is not installed (see .setup/apt-runtime.txt)"; }

# The version, or nothing when the package is not there.
optional() {
    local status version
    read -r status version < <(dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null) || true
    if [[ ${status:-} == installed ]]; then echo "$version"; fi
}

IPXE=$(version ipxe)
GRUB=$(version grub-efi-amd64-bin)
PXELINUX=$(version pxelinux)
SYSLINUX=$(version syslinux-common)
# Not every appliance needs these: what is installed is taken, and the manifest says what the rest would take.
SHIM=$(optional shim-signed)
SIGNED=$(optional grub-efi-amd64-signed)
ARM=$(optional debian-installer-12-netboot-arm64)
readonly ARM_FOLDER=/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64
KEY=$({
    echo "$IPXE $GRUB $PXELINUX $SYSLINUX $SHIM $SIGNED $ARM"
    cat "$HERE/build.sh" "$HERE/localboot.cfg"
} | sha256sum | cut -d ' ' -f 1)
if [[ -e $OUT/manifest.json && $(cat "$OUT/.stamp" 2>/dev/null) == "$KEY" ]]; then
    echo "loaders: up to date: $OUT"
    exit
fi

WORK=$(mktemp -d "${OUT%/*}/.loaders.XXXXXX") # beside OUT: publishing is a rename
trap 'rm -rf "$WORK"' EXIT
NEW=$WORK/new
mkdir "$NEW"
ENTRIES=()

# add FILE PACKAGE VERSION FIRMWARE [NAME]
add() {
    local name=${5:-${1##*/}}
    if [[ $1 != "$NEW/$name" ]]; then install -m 0644 "$1" "$NEW/$name"; fi
    ENTRIES+=("$(printf '    {"name": "%s", "size": %d, "sha256": "%s", "package": "%s", "version": "%s", "firmware": "%s"}' \
        "$name" "$(stat -c %s "$NEW/$name")" "$(sha256sum "$NEW/$name" | cut -d ' ' -f 1)" "$2" "$3" "$4")")
}

add /usr/lib/ipxe/undionly.kpxe ipxe "$IPXE" bios
add /usr/lib/ipxe/ipxe.pxe ipxe "$IPXE" bios
add /usr/lib/ipxe/ipxe.lkrn ipxe "$IPXE" bios
# For BIOSes whose UNDI driver fails iPXE: PXELINUX starts ipxe.lkrn, which drives the card itself.
add /usr/lib/PXELINUX/pxelinux.0 pxelinux "$PXELINUX" bios
add /usr/lib/syslinux/modules/bios/ldlinux.c32 syslinux-common "$SYSLINUX" bios
add /usr/lib/ipxe/snponly.efi ipxe "$IPXE" uefi-x64
add /boot/ipxe.efi ipxe "$IPXE" uefi-x64

# The config goes in as a memory disk: what -c embeds is read by GRUB's rescue parser, which has no
# loops. Partition tables and file systems are those an ESP can be on.
install -D -m 0644 "$HERE/localboot.cfg" "$WORK/localboot/grub.cfg"
tar -C "$WORK" --owner=0 --group=0 --mtime=@0 -cf "$WORK/memdisk.tar" localboot
grub-mkimage -O x86_64-efi -o "$NEW/localboot-x64.efi" -m "$WORK/memdisk.tar" -p '(memdisk)/localboot' \
    memdisk tar normal part_gpt part_msdos fat search search_fs_file chain boot echo test minicmd
chmod 0644 "$NEW/localboot-x64.efi"
add "$NEW/localboot-x64.efi" grub-efi-amd64-bin "$GRUB" uefi-x64

# Secure Boot: the firmware trusts Microsoft's signature on shim, shim trusts Debian's on GRUB, GRUB asks shim about
# the kernel. shim looks for its next program beside itself, under the name that it was built with.
MISSING=()
if [[ -n $SHIM && -n $SIGNED ]]; then
    add /usr/lib/shim/shimx64.efi.signed shim-signed "$SHIM" uefi-x64 shimx64.efi
    add /usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed grub-efi-amd64-signed "$SIGNED" uefi-x64 grubx64.efi
else
    MISSING+=('    {"name": "shimx64.efi", "remedy": "apt install shim-signed grub-efi-amd64-signed, then make setup"}')
fi
if [[ -n $ARM ]]; then
    add "$ARM_FOLDER/bootnetaa64.efi" debian-installer-12-netboot-arm64 "$ARM" uefi-arm64
    add "$ARM_FOLDER/grubaa64.efi" debian-installer-12-netboot-arm64 "$ARM" uefi-arm64
else
    MISSING+=('    {"name": "bootnetaa64.efi", "remedy": "apt install debian-installer-12-netboot-arm64, then make setup"}')
fi

{
    printf '{\n  "files": [\n'
    printf '%s\n' "${ENTRIES[@]}" | sed '$!s/$/,/'
    printf '  ],\n  "not_available": [\n'
    if ((${#MISSING[@]})); then printf '%s\n' "${MISSING[@]}" | sed '$!s/$/,/'; fi
    printf '  ]\n}\n'
} >"$NEW/manifest.json"
echo "$KEY" >"$NEW/.stamp"
if [[ -e $OUT ]]; then mv -T "$OUT" "$WORK/old"; fi
mv -T "$NEW" "$OUT"
echo "loaders: built in $OUT"
