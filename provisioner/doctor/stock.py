"""What lies on this host, judged: loaders, images, roles, clock, disk, database. Pure, like ``network``."""

from collections.abc import Iterator
from datetime import UTC, datetime

from provisioner.doctor.facts import Database, Facts
from provisioner.doctor.findings import Finding, ok, problem, warning

GIB = 1 << 30


def loaders(facts: Facts) -> Iterator[Finding]:
    if not facts.loaders:
        yield problem(
            "loaders",
            "no loader is there for machines to start with",
            "`make setup` collects them; the Debian package brings them",
        )
        return
    bad = [loader for loader in facts.loaders if loader.fault]
    for loader in bad:
        yield problem(
            "loaders",
            f"loader {loader.name} {loader.fault}",
            "`make setup` collects them again",
        )
    if not bad:
        yield ok("loaders", f"{len(facts.loaders)} loaders are there, as they were collected")


def images(facts: Facts) -> Iterator[Finding]:
    there = {(image.name, image.version): image for image in facts.images}
    names = {image.name for image in facts.images}
    missing: dict[str, list[str]] = {}
    for role in facts.roles:
        wanted = f"{role.image} {role.version}".strip()
        absent = (role.image, role.version) not in there if role.version else role.image not in names
        if role.used and absent:
            missing.setdefault(wanted, []).append(role.name)
    for wanted, users in missing.items():
        yield problem(
            "images",
            f"image {wanted} is not imported, role{'s' if len(users) > 1 else ''} {', '.join(users)} "
            f"need{'' if len(users) > 1 else 's'} it",
            f"`provisioner image import DIR --name {wanted.split()[0]}`, or `provisioner image fetch --help`",
        )
    broken = [image for image in facts.images if image.problems]
    for image in broken:
        yield problem(
            "images",
            f"image {image.name} {image.version}: {'; '.join(image.problems)}",
            f"import it again: `provisioner image import DIR --name {image.name} --version {image.version}`",
        )
    if not facts.images and not missing:
        yield warning(
            "images", "no image is imported yet", "`provisioner image import DIR --name flatcar`, or `image fetch`"
        )
    elif not missing and not broken:
        yield ok("images", f"{len(facts.images)} image versions, all complete")


def roles(facts: Facts) -> Iterator[Finding]:
    if not facts.roles:
        yield problem("roles", "there is no role", "a role is a folder with a role.yaml in `cloud_configs`")
    faulty: dict[str, list[str]] = {}
    for role in facts.roles:
        if role.fault:
            faulty.setdefault(role.fault, []).append(role.name)
    for fault, names in faulty.items():
        # One damaged image is the fault of twenty roles: that is told once.
        several = f"roles {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if names[3:] else "")
        one = len(names) == 1
        validate = f"`provisioner role validate {names[0]}`" if one else "`provisioner role validate`"
        who = f"role {names[0]}" if one else several
        yield problem("roles", f"{who}: {fault}", f"mend it, then {validate}")
    if facts.roles and not faulty:
        yield ok("roles", f"{len(facts.roles)} roles compile")


def clock(facts: Facts) -> Iterator[Finding]:
    if facts.clock is None:
        return
    shown = _day(facts.clock.now)
    if facts.clock.now < facts.clock.never_before:
        yield problem(
            "clock",
            f"the clock says {shown}, but the newest record here is of {_day(facts.clock.never_before)}; "
            "machines set theirs by it",
            "`timedatectl set-time '2026-01-31 12:00:00'`, or `systemctl enable --now systemd-timesyncd`",
        )
    elif facts.clock.synchronised is False:
        yield warning(
            "clock",
            f"the clock says {shown} and nothing keeps it right; machines set theirs by it",
            "`apt-get install chrony`, with a time server of the rack",
        )
    else:
        yield ok("clock", f"the clock says {shown}")


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def disk(facts: Facts) -> Iterator[Finding]:
    if facts.disk is None:
        return
    seen = facts.disk
    if not seen.exists:
        yield warning("disk", f"data_dir {seen.path} does not exist yet", "`provisioner serve` makes it, as root")
        return
    free = f"{seen.free / GIB:.1f} of {seen.size / GIB:.0f} GiB free in {seen.path}"
    clear = "`provisioner image list`, then `provisioner image remove NAME VERSION` for what no role uses"
    if not seen.writable:
        yield problem("disk", f"data_dir {seen.path} cannot be written by this user", "run as root or as its owner")
    elif seen.free < GIB // 10 or seen.free_files < 100:
        what = "disk full" if seen.free < GIB // 10 else "no inodes left"
        # Commands need the database, and that needs room.
        largest = f"`du -xhd2 {seen.path} | sort -h | tail` shows what takes it; remove old backups, or {clear}"
        yield problem("disk", f"{what}: {free}; leases and events cannot be stored", largest)
    elif seen.free < GIB or seen.free * 20 < seen.size:
        yield warning("disk", free, clear)
    else:
        yield ok("disk", free)


def database(seen: Database) -> Finding:
    newest = seen.known[-1] if seen.known else ""
    if seen.failed:
        return problem(
            "database",
            f"database {seen.shown}: {seen.failed}",
            "machines still boot from the snapshot on disk; mend database_url, the server, or the file's owner",
        )
    if seen.revision is None:
        return ok("database", f"database {seen.shown} is empty; the first command makes its tables")
    if seen.revision not in seen.known:
        return problem(
            "database",
            f"database {seen.shown} is at revision {seen.revision}, this program knows up to {newest}",
            "run the newer program that migrated it, or `provisioner db restore FILE` with a backup made before",
        )
    if seen.revision != newest:
        return warning(
            "database",
            f"database {seen.shown} is at revision {seen.revision}, this program's is {newest}",
            "`provisioner db upgrade`, which makes a backup first",
        )
    return ok("database", f"database {seen.shown} can be written, revision {seen.revision}")
