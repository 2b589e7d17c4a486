"""Images as jobs and under protection: fetched and verified by the images service, removed only when unused."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from threading import Event as Flag
from typing import Any, TypeVar
from uuid import uuid4

from provisioner.domain.errors import InUse, Refused, StoreUnavailable
from provisioner.domain.events import Event, Kind
from provisioner.domain.image_library import ImageLibrary, NamedImage
from provisioner.domain.inventory import Inventory
from provisioner.domain.lifecycle import SECOND
from provisioner.domain.ports import Store
from provisioner.domain.records import Job

KINDS = ("image-fetch", "image-import", "image-verify")
LEASE = 120 * SECOND
_TELL_EVERY = 2 * SECOND
_KB = 1000
"""``done`` and ``total`` of these jobs are kB: bytes would not fit into the table's numbers."""

T = TypeVar("T", bound=NamedImage)
RoleImage = tuple[str, str, str]
"""A role's name, its image, and the version it is pinned to (empty: follows the newest)."""


class _Stopped(Exception):
    """The service ends; the job goes back into the queue."""


def enqueue_fetch(
    store: Store, publisher: str, *, name: str, stream: str, version: str, arch: str, actor: str, now: int
) -> Job:
    """Ask for a release of a publisher."""
    args = {"publisher": publisher, "name": name, "stream": stream, "version": version, "arch": arch}
    return _queue(store, "image-fetch", args, actor, now)


def enqueue_import(
    store: Store,
    library: ImageLibrary,
    source: str,
    *,
    name: str,
    version: str,
    trust: Sequence[str],
    actor: str,
    now: int,
) -> Job:
    """Ask for what was put into the folder for imports. Raises NotFound, InvalidValue."""
    library.expect(source)
    return _queue(
        store,
        "image-import",
        {"source": source, "name": name, "version": version, "trust": list(trust)},
        actor,
        now,
    )


def enqueue_verify(store: Store, library: ImageLibrary, name: str, version: str, *, actor: str, now: int) -> Job:
    """Ask for every byte to be read again. Raises NotFound."""
    version = library.get(name, version or None).version
    return _queue(store, "image-verify", {"name": name, "version": version}, actor, now)


def used_by(
    inventory: Inventory, roles: Iterable[RoleImage], name: str, version: str, versions: Sequence[str]
) -> list[str]:
    """Who needs a version, in words: machines whose open install was compiled with it, and roles.

    ``versions``: all there are of this image, oldest first.
    """
    newest = bool(versions) and versions[-1] == version
    return _installs(inventory, name, version) + [
        f"role {role}"
        for role, image, pinned in roles
        if image == name and (pinned == version or (not pinned and newest))
    ]


def _installs(inventory: Inventory, name: str, version: str) -> list[str]:
    needle = f"/images/{name}/{version}/".encode()
    return [
        f"the install of {machine.name}"
        for machine in inventory.machines.values()
        if (install := machine.install) and install.open and any(needle in data for data in install.files.values())
    ]


def listed(images: Sequence[T], inventory: Inventory, roles: Sequence[RoleImage]) -> list[tuple[T, list[str]]]:
    """Each image with its users. ``images``: all versions there are, oldest first of each name."""
    versions: dict[str, list[str]] = {}
    for image in images:
        versions.setdefault(image.name, []).append(image.version)
    return [(image, used_by(inventory, roles, image.name, image.version, versions[image.name])) for image in images]


def remove(
    store: Store,
    library: ImageLibrary,
    roles: Iterable[RoleImage],
    name: str,
    version: str,
    *,
    actor: str,
    now: int,
    force: bool = False,
) -> None:
    """Take a version away. Raises NotFound, or InUse while a role or an open install needs it.

    ``force``: roles may lose it (their machines cannot be armed then); open installs never do.
    """
    library.get(name, version)
    users = used_by(store.inventory(), () if force else roles, name, version, library.versions(name))
    if users:
        raise InUse(
            "image",
            f"{name} {version}",
            ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else ""),
            "disarm such machines or wait for them; pin such roles to another version (image_version), or --force",
        )
    with store.transaction(actor) as tx:
        tx.events.add(Event(Kind.JOB, f"image {name} {version} removed", now, actor=actor))
    library.remove(name, version)


def work(store: Store, library: ImageLibrary, clock: Callable[[], int], stop: Flag) -> Job | None:
    """Lease one job and carry it out; None when nothing waits. The images service calls this in a loop."""
    with store.reading() as tx:
        if not any(job.kind in KINDS and job.state in ("queued", "running") for job in tx.jobs.list()):
            return None
    with store.transaction("images") as tx:
        now = clock()
        job = tx.jobs.lease(KINDS, now, now + LEASE)
    return run(store, library, job, clock, stop) if job else None


def run(store: Store, library: ImageLibrary, job: Job, clock: Callable[[], int], stop: Flag) -> Job:
    """Carry a leased job out. Returns it as stored then: done, failed, or queued again when ``stop`` is set."""
    told = clock()

    def progress(done: int, total: int) -> None:
        nonlocal told, job
        if stop.is_set():
            raise _Stopped
        if clock() - told < _TELL_EVERY:
            return
        told = clock()
        job = replace(job, done=done // _KB, total=total // _KB, lease_until=told + LEASE)
        try:
            with store.transaction(job.actor) as tx:
                tx.jobs.put(job)
        except StoreUnavailable:
            return  # Only a number on a page is late; the end of the job is stored, or the lease runs out.

    try:
        subject, said = _carry_out(library, job, progress)
        ok = True
    except _Stopped:
        return _put(store, replace(job, state="queued", lease_until=0), None)
    except (Refused, OSError) as refusal:
        subject = str(job.args.get("name") or job.args.get("publisher") or job.args.get("source"))
        said, ok = str(refusal if isinstance(refusal, Refused) else _disk(refusal)), False
    result: dict[str, Any] = {"image": {"ok": ok, "name": subject, "said": said}}
    job = replace(job, state="done" if ok else "failed", lease_until=0, result=result)
    if ok:
        job = replace(job, done=max(job.total, job.done))
    return _put(store, job, Event(Kind.JOB, said, clock(), actor=job.actor, data={"job": str(job.id)}))


def _disk(error: OSError) -> Refused:
    """What the file system refused, a full disk most of all: not the job's fault, but its end."""
    where = f" ({error.filename})" if error.filename else ""
    return Refused(
        f"what belongs to the image cannot be read or written: {error.strerror or error}{where}",
        "free space beneath data_dir or mend its rights, then ask for it again; a fetch goes on where it stopped",
    )


def _carry_out(library: ImageLibrary, job: Job, progress: Callable[[int, int], None]) -> tuple[str, str]:
    """What the job was about, and what came of it. Raises Refused."""
    args = job.args
    if job.kind == "image-fetch":
        image = library.fetch(
            args["publisher"],
            name=args["name"],
            stream=args["stream"],
            version=args["version"],
            arch=args["arch"],
            progress=progress,
        )
        subject = f"{image.name} {image.version}"
        return subject, f"image {subject} fetched, signatures and digests are good"
    if job.kind == "image-import":
        return library.bring_in(
            args["source"], name=args["name"], version=args["version"], trust=args["trust"], progress=progress
        )
    subject = f"{args['name']} {args['version']}"
    problems = library.verify(args["name"], args["version"], progress)
    if problems:
        raise Refused(f"image {subject}: {'; '.join(problems)}", "fetch or import it again")
    return subject, f"image {subject}: every file is as it was imported"


def _queue(store: Store, kind: str, args: dict[str, Any], actor: str, now: int) -> Job:
    with store.transaction(actor) as tx:
        return tx.jobs.put(Job(uuid4(), kind, args, actor, now))


def _put(store: Store, job: Job, event: Event | None) -> Job:
    with store.transaction(job.actor) as tx:
        if event is not None:
            tx.events.add(event)
        return tx.jobs.put(job)
