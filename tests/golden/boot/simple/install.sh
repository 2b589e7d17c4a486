#!/bin/bash
# Installs this machine: clock, disk, image, payload, network, report, reboot. A step that fails reports its
# phase, its command and the last lines of its output, and the machine stays up for a look.
set -Eeuo pipefail
umask 022
export LC_ALL=C

machine=node1
role=simple
image=flatcar
version=3815.2.0
disk_rule=smallest
disk_min_bytes=1073741824
wipe=never

url_config=http://@@SERVER@@/b/@@INSTALL_TOKEN@@/config.yml
url_network=http://@@SERVER@@/b/@@INSTALL_TOKEN@@/network
url_images=http://@@SERVER@@:8081/images
url_progress=http://@@SERVER@@/b/@@INSTALL_TOKEN@@/progress
url_log=http://@@SERVER@@/b/@@INSTALL_TOKEN@@/log
url_complete=http://@@SERVER@@/b/@@INSTALL_TOKEN@@/complete
url_failed=http://@@SERVER@@/b/@@INSTALL_TOKEN@@/failed

# The directories and waits can be set from outside, so that the script can be tried without a machine.
work=${PROVISIONER_WORK:-/run/provisioner}
by_id=${PROVISIONER_BY_ID:-/dev/disk/by-id}
sys_block=${PROVISIONER_SYS_BLOCK:-/sys/class/block}
heartbeat=${PROVISIONER_HEARTBEAT:-5}
patience=${PROVISIONER_PATIENCE:-60}
pause=${PROVISIONER_PAUSE:-2}
complete_seconds=${PROVISIONER_COMPLETE_SECONDS:-180}

root=$work/root
log=$work/install.log
phase=config
step_start=0
mkdir -p "$root"
chmod 0700 "$work" # the config holds the installed system's token

# Everything goes to one file, complete at any moment; the console follows it.
exec 3>&1 >>"$log" 2>&1
tail -n +1 -f -s 0.5 --pid=$$ "$log" >&3 &
follower=$!
trap 'sleep 0.3; kill "$follower" || true' EXIT

# --- reporting ---------------------------------------------------------------------------------------------

json() { # text -> JSON string, printable ASCII only
    local text
    text=$(printf '%s' "$1" | tail -c 4000 | tr '\t' ' ' | tr -c '\n\40-\176' '?')
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    printf '"%s"' "$text"
}

retry() { # tries command…; curl's own --retry gives up on a route that comes up late
    local tries=$1 try
    shift
    for ((try = 1; ; try++)); do
        if "$@"; then return 0; fi
        ((try < tries)) || return 1
        sleep "$pause"
    done
}

post() { # tries url body content-type; 2: refused by the appliance (4xx), which would refuse it again
    local try code
    for ((try = 1; ; try++)); do
        code=$(curl --silent --show-error --output /dev/null --connect-timeout 5 --max-time 20 \
            --write-out '%{http_code}' --header "Content-Type: $4" --data-binary "$3" "$2") || true
        case $code in
        2??) return 0 ;;
        408 | 429) ;;
        4??) echo "(refused by the appliance: $code)" && return 2 ;;
        esac
        ((try < $1)) || return 1
        sleep "$pause"
    done
}

report_tries=3
progress() { # message [percent]; a report that is lost never stops the install, nor delays it again and again
    local percent=null
    if [[ ${2:-} =~ ^[0-9]{1,3}$ ]] && ((10#$2 <= 100)); then percent=$((10#$2)); fi
    echo "[$phase] $1"
    if post "$report_tries" "$url_progress" \
        "{\"phase\":\"$phase\",\"percent\":$percent,\"message\":$(json "$1")}" application/json; then
        report_tries=3
    else
        report_tries=1
        echo "(this report was lost)"
    fi
}

enter() { # phase message
    phase=$1
    step_start=$(wc -c <"$log")
    progress "$2" "${3:-}"
}

upload_log() { # tries
    # A copy: the log grows while it is sent.
    cp "$log" "$work/install.log.sent"
    post "$1" "$url_log" "@$work/install.log.sent" text/plain || echo "(the log could not be uploaded)"
}

give_up() { # reason
    trap - ERR
    set +e
    local output
    output=$(tail -c "+$((step_start + 1))" "$log" | tail -n 12)
    echo "FAILED in phase $phase: $1"
    post 30 "$url_failed" "{\"phase\":\"$phase\",\"reason\":$(json "$1"$'\n'"$output")}" application/json ||
        echo "(the failure could not be reported)"
    upload_log 5
    echo "This machine stays up; the log is $log."
    exit 1
}

# BASH_COMMAND is the command as it is written here, so that no token gets into a report. A subshell only
# ends: its parent reports, once.
on_error() { # status line command
    if [[ $BASHPID == "$$" ]]; then give_up "line $2: $3 ended with status $1"; fi
}
trap 'on_error $? "$LINENO" "$BASH_COMMAND"' ERR

fetch() { # url file [further curl options]
    local url=$1 file=$2
    shift 2
    retry 10 curl --fail --silent --show-error --output "$file" --connect-timeout 10 "$@" "$url"
}

# --- clock -------------------------------------------------------------------------------------------------

set_clock() {
    enter clock "installing role $role on $machine"
    local date
    fetch "$url_network" "$work/network" --max-time 60 --dump-header "$work/headers"
    date=$(tr -d '\r' <"$work/headers" | sed -n 's/^[Dd]ate: *//p' | tail -n 1)
    [[ -n $date ]] || give_up "the appliance sent no Date header"
    date --utc --set="$date"
    if command -v hwclock >/dev/null; then
        hwclock --systohc --utc || echo "(no hardware clock to set)"
    fi
    progress "clock set to $date"
}

# --- disk --------------------------------------------------------------------------------------------------

disks() { # "SIZE NAME" of each disk that may be installed to, in the kernel's order
    local line name size
    lsblk --bytes --nodeps --noheadings --pairs --paths --output NAME,SIZE,TYPE,RO,RM,TRAN | sort -V |
        while read -r line; do
            [[ $line == *'TYPE="disk"'* && $line == *'RO="0"'* && $line == *'RM="0"'* ]] || continue
            # Sticks, card readers and a BMC's media; many of them do not say that they are removable.
            [[ $line != *'TRAN="usb"'* ]] || continue
            [[ $line =~ NAME=\"([^\"]+)\" ]] || continue
            name=${BASH_REMATCH[1]}
            [[ $line =~ SIZE=\"([0-9]+)\" ]] || continue
            size=${BASH_REMATCH[1]}
            case ${name##*/} in zram* | ram* | fd* | mmcblk*boot*) continue ;; esac
            if ((size >= disk_min_bytes)); then echo "$size $name"; fi
        done
}

choose_disk() {
    enter disk "choosing a disk: $disk_rule"
    local candidates chosen matches link
    candidates=$(disks)
    echo "$candidates"
    case $disk_rule in
    smallest) chosen=$(sort -s -n -k 1,1 <<<"$candidates" | head -n 1) ;;
    largest) chosen=$(sort -s -n -r -k 1,1 <<<"$candidates" | head -n 1) ;;
    first) chosen=$(head -n 1 <<<"$candidates") ;;
    by-id:*)
        matches=
        # The glob is the rule's; partitions of a disk have links of their own.
        for link in "$by_id"/${disk_rule#by-id:}; do
            if [[ -e $link && $link != *-part[0-9]* ]]; then matches+=$(readlink -f "$link")$'\n'; fi
        done
        matches=$(printf '%s' "$matches" | sort -u)
        [[ -n $matches ]] || give_up "no disk matches $disk_rule; the rule is install_disk in the role"
        [[ $matches != *$'\n'* ]] || give_up "several disks match $disk_rule: ${matches//$'\n'/ }"
        chosen="? $matches"
        ;;
    *) chosen="? $disk_rule" ;;
    esac
    disk=${chosen#* }
    [[ -n $disk ]] || give_up "no disk of at least $disk_min_bytes bytes is there, USB left out; the rule is install_disk in the role"
    [[ -e $disk ]] || give_up "disk $disk is not there; the rule is install_disk in the role"
    size=$(lsblk --bytes --nodeps --noheadings --output SIZE "$disk" | tr -d ' ')
    progress "chose $disk, $((size / 1048576)) MiB"
}

# An install that was cut off is known by a marker near the end of the disk, where no image reaches: it is
# written before the image and erased after it. A finished one is known by a file on its ROOT. Both name this
# machine; a disk of another machine is foreign.
marker="provisioner install of 52:54:00:12:34:01 unfinished"
marker_offset() { echo $((size / 4096 * 4096 - 1048576)); }

read_marker() {
    dd if="$disk" bs=4096 skip="$(($(marker_offset) / 4096))" count=1 status=none | tr -d '\0' | head -n 1
}

write_marker() { # text; empty erases
    printf '%s\n' "$1" | dd of="$disk" bs=4096 seek="$(($(marker_offset) / 4096))" count=1 conv=notrunc,sync status=none
    sync
}

partitions() { lsblk --noheadings --raw --paths --output NAME,TYPE "$disk" | awk '$2 == "part" { print $1 }'; }

# Where the installed system keeps the name of its machine: Flatcar's ROOT, or the boot partition of Fedora
# CoreOS, whose root belongs to ostree.
system_label=ROOT
identity=etc/provisioner/machine

root_partition() {
    lsblk --noheadings --raw --paths --output NAME,LABEL "$disk" |
        awk -v label="$system_label" '$2 == label { print $1; exit }'
}

is_ours() {
    if [[ $(read_marker) == "$marker" ]]; then
        whose="an earlier install of this machine was cut off here"
        return 0
    fi
    local partition found=1
    partition=$(root_partition)
    if [[ -n $partition ]] && mount -o ro,norecovery "$partition" "$root"; then
        if [[ -f $root/$identity && $(head -n 1 "$root/$identity") == 52:54:00:12:34:01 ]]; then
            whose="this machine was installed from here before"
            found=0
        fi
        umount "$root"
    fi
    return "$found"
}

check_disk() {
    local device signatures='' found
    # Before anything is lost: once the install is called off the appliance hands nothing out any more.
    fetch "$url_config" "$work/config" --max-time 60
    for device in "$disk" $(partitions); do
        found=$(wipefs --noheadings --output TYPE "$device" | sort -u | xargs)
        if [[ -n $found ]]; then signatures+="$device: $found; "; fi
    done
    if [[ -z $signatures && -z $(partitions) ]]; then
        progress "$disk is empty"
        return
    fi
    echo "found on the disk: $signatures"
    if is_ours; then
        progress "$whose; $disk is installed again"
        [[ $wipe == always ]] || return 0
    elif [[ $wipe == never ]]; then
        give_up "$disk holds foreign data (${signatures%; }); nothing was written. Clear the disk, arm it with --wipe, or set wipe: foreign in role $role"
    fi
    progress "wiping $disk, as wipe: $wipe says"
    for device in $(partitions) "$disk"; do wipefs --all --quiet "$device"; done
}

# --- image -------------------------------------------------------------------------------------------------

sectors_written() { awk '{ print $7 }' "$sys_block/${disk##*/}/stat" 2>/dev/null || echo 0; }

write_image() {
    enter image "writing $image $version to $disk" 0
    local installer pid status=0 ticks=0 sectors written before percent
    installer=$(command -v flatcar-install || command -v coreos-install) ||
        give_up "neither flatcar-install nor coreos-install is in the live system"
    write_marker "$marker"
    before=$(sectors_written)
    "$installer" -d "$disk" -b "$url_images/$image" -V "$version" -c "$work/config" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.5
        ((++ticks % (heartbeat * 2) == 0)) || continue
        sectors=$(sectors_written)
        written=$(((sectors - before) * 512 / 1048576))
        percent=$(tail -c 400 "$log" | grep -oE '[0-9]{1,3}(\.[0-9]+)?%' | tail -n 1 | sed 's/[.%].*//' || true)
        progress "$written MiB written" "$percent"
    done
    wait "$pid" || status=$?
    ((status == 0)) || give_up "${installer##*/} -d $disk -V $version ended with status $status"
    progress "image written" 100
}

mount_root() {
    local partition='' deadline=$((SECONDS + patience))
    blockdev --rereadpt "$disk" || echo "(the kernel knows the new partitions already)"
    if command -v udevadm >/dev/null; then udevadm settle --timeout=10 || true; fi
    until partition=$(root_partition) && [[ -n $partition ]]; do
        ((SECONDS < deadline)) || give_up "the image on $disk has no partition labelled $system_label"
        sleep 1
    done
    mount "$partition" "$root"
}

# --- payload -----------------------------------------------------------------------------------------------

payload_file() { # path sha256 dest mode
    local target=$root$3 actual
    mkdir -p "${target%/*}"
    fetch "http://@@SERVER@@:8081/payload/$1" "$target.part" --speed-limit 1024 --speed-time 60
    actual=$(sha256sum "$target.part" | cut -d ' ' -f 1)
    if [[ $actual != "$2" ]]; then
        rm -f "$target.part"
        give_up "payload $1 has sha256 $actual, the role says $2"
    fi
    chmod "$4" "$target.part"
    mv -f "$target.part" "$target"
    progress "payload $1 is in $3"
}

fetch_payload() {
    enter payload "fetching 0 files of payload"
    return 0
}

# --- the installed system ----------------------------------------------------------------------------------

write_system() {
    enter written "writing network configuration and host name"
    [[ -s $work/network ]] || give_up "the network configuration is empty"
    mkdir -p "$root/etc/systemd/network" "$root/${identity%/*}"
    install -m 0644 "$work/network" "$root/etc/systemd/network/00-provisioner.network"
    printf '%s\n' "$machine" >"$root/etc/hostname"
    printf '%s\n' 52:54:00:12:34:01 >"$root/$identity"
    sync
    umount "$root"
    # On a disk hardly larger than the image the marker's place is the image's, and the marker is gone.
    if [[ $(read_marker) == "$marker" ]]; then write_marker ""; fi
    progress "installed on $disk"
}

finish() {
    enter reboot "install complete, restarting"
    upload_log 5
    # For minutes, as long as a host takes to restart: a machine that starts from the network first, and is not known
    # to be done, installs again. If the report is lost all the same the installed system's own is the proof.
    local give_up=$((SECONDS + complete_seconds)) answer
    while true; do
        answer=0
        post 1 "$url_complete" '{}' application/json || answer=$?
        ((answer == 1)) || break
        if ((SECONDS >= give_up)); then
            echo "(the completion could not be reported)"
            break
        fi
        sleep "$pause"
    done
    sync
    systemctl reboot
}

set_clock
choose_disk
check_disk
write_image
mount_root
fetch_payload
write_system
finish
