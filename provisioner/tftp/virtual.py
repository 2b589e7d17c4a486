"""Files that are in no folder: what a loader asks for by its MAC, made from the inventory.

Nothing secret is in them, since TFTP proves little about who asks: iPXE is sent on to the boot script over HTTP,
GRUB's config holds no token. Names, with or without a leading slash:

- ``autoexec.ipxe``, ``MAC/autoexec.ipxe``, ``MAC/boot.ipxe``: what iPXE 1.21 and newer look for first.
- ``pxelinux.cfg/01-MAC`` (syslinux, doc/pxelinux.txt); ``grub/grub.cfg-01-MAC`` (GRUB, net/net.c) and, for
  Debian's signed GRUB, ``grub/grub.cfg``; on ARM64 in ``debian-installer/arm64/``.
- ``MAC/FILE``: the loader FILE.
- ``images/IMAGE/VERSION/FILE``: kernels and initrds for GRUB, which reads by TFTP only.
"""

from collections.abc import Callable
from contextlib import suppress

from provisioner.boot.grub import config_for
from provisioner.boot.quoting import screen_text
from provisioner.domain.admission import at_its_place
from provisioner.domain.boot import Action, BootPlan, plan_boot
from provisioner.domain.errors import InvalidValue, NotFound
from provisioner.domain.events import Event, Kind
from provisioner.domain.mac import Mac
from provisioner.domain.machine import IPAddress, Machine, Phase
from provisioner.domain.ports import SnapshotSource
from provisioner.domain.tokens import fill
from provisioner.images.beneath import Missing, Opened
from provisioner.images.store import ImageStore

_ETHERNET = "01-"
"""The hardware type of ARP before the MAC, as PXELINUX and GRUB write it."""
_OWN_DISK = frozenset({Action.DISK})
_NOTHING = frozenset({Action.NOTHING, Action.ADDRESS_ONLY})
_SCRIPTS = frozenset({"autoexec.ipxe", "boot.ipxe"})
_INSTALLERS_GRUB = "debian-installer/arm64/grub/"
"""The GRUB of Debian's ARM64 installer is built for this folder; others look in ``grub/``."""


class VirtualFiles:
    """Answers for names, or None: then the files beneath the root are asked."""

    def __init__(
        self,
        snapshot: SnapshotSource,
        clock: Callable[[], int],
        neighbour: Callable[[IPAddress], Mac | None] = lambda _: None,
        images: ImageStore | None = None,
        observe: Callable[[Event], None] = lambda _: None,
    ) -> None:
        """``clock``: UTC microseconds. ``neighbour``: the MAC that the wire shows for an address, if any.
        ``observe`` is told what a machine's loader was led to, and why."""
        self._snapshot = snapshot
        self._clock = clock
        self._neighbour = neighbour
        self._images = images
        self._observe = observe

    def content(self, name: str, client: IPAddress, server: IPAddress) -> bytes | str | Opened | None:
        """The bytes of a file, or the file; or another name to serve instead (text); or None.

        ``server``: our address that the client contacted.
        """
        inventory = self._snapshot.inventory
        path = name.lstrip("/")
        if path.startswith(_INSTALLERS_GRUB):
            path = "grub/" + path.removeprefix(_INSTALLERS_GRUB)
        if path == "autoexec.ipxe":
            machine = inventory.by_ip(client)
            return _ipxe(machine.boot_mac if machine else None, server)
        folder, _, file = path.partition("/")
        if folder == "pxelinux.cfg":
            return self._planned(_pxelinux, file, client, server)
        if folder == "grub":
            return self._grub(file, client, server)
        if folder == "images" and self._images is not None:
            return _image(self._images, file)
        mac = _mac(folder) if file else None
        if mac is None:
            return None
        return _ipxe(mac, server) if file in _SCRIPTS else file

    def _planned(
        self,
        write: Callable[[Machine | None, BootPlan, Mac, IPAddress], bytes],
        suffix: str,
        client: IPAddress,
        server: IPAddress,
    ) -> bytes | None:
        """None also for a machine that is not served: the loader goes on to its next name and then gives up."""
        mac = _hardware(suffix)
        if mac is None:
            return None
        inventory = self._snapshot.inventory
        machine = inventory.by_mac(mac)
        plan = plan_boot(machine, inventory.subnet_of(server), self._clock())
        if plan.action in _NOTHING:
            return None
        if plan.action in _OWN_DISK:  # everything else is decided anew, and told, at the boot script
            self._tell("PXELINUX", machine, plan, client)
        return write(machine, plan, mac, server)

    def _grub(self, file: str, client: IPAddress, server: IPAddress) -> bytes | None:
        """GRUB without a config waits at its prompt for a person: it always gets one."""
        inventory = self._snapshot.inventory
        if file == "grub.cfg":
            # Debian's signed GRUB asks for this name only, whichever card it came by.
            machine = inventory.by_ip(client)
        elif file.startswith("grub.cfg-") and (mac := _hardware(file.removeprefix("grub.cfg-"))) is not None:
            machine = inventory.by_mac(mac)
        else:
            return None
        plan = plan_boot(machine, inventory.subnet_of(client), self._clock())
        install = None
        if plan.action is Action.INSTALL and machine is not None and machine.install is not None:
            admission = at_its_place(machine, client, self._neighbour(client))
            install = machine.install.files.get("boot.grub")
            if not admission:
                plan = BootPlan(Action.EXPLAIN, admission.refusal)
            elif install is None:
                plan = BootPlan(
                    Action.EXPLAIN, "what it was armed with is nothing that GRUB could start; arm it again"
                )
        self._tell("GRUB", machine, plan, client)
        return fill(config_for(plan, install), install_token="", machine_token="", server=str(server))

    def _tell(self, loader: str, machine: Machine | None, plan: BootPlan, client: IPAddress) -> None:
        # Anybody can ask by TFTP for a listed MAC: only at its own address does a machine speak for itself.
        if machine is None or not at_its_place(machine, client, self._neighbour(client)):
            return
        self._observe(
            Event(
                Kind.SCRIPT_SERVED,
                f"asked for its {loader} config; gets {plan.action} because {plan.reason}",
                self._clock(),
                machine_id=machine.id,
                phase=Phase.LOADER,
                actor="tftp",
                data={"source": str(client), "gets": str(plan.action)},
            )
        )


def _image(images: ImageStore, path: str) -> Opened:
    """Raises Missing; Refused when the file is not what was imported."""
    name, _, rest = path.partition("/")
    version, _, file = rest.partition("/")
    try:
        return images.open(name, version, file)[0]
    except NotFound as error:
        raise Missing(str(error)) from error


def _ipxe(mac: Mac | None, server: IPAddress) -> bytes:
    own = mac.hexhyp if mac else "${netX/mac:hexhyp}"
    # The query is the one that the DHCP answer gives iPXE.
    query = f"mac={own}&uuid=${{uuid}}&serial=${{serial:uristring}}"
    host = f"[{server}]" if server.version == 6 else str(server)
    return (
        "#!ipxe\n"
        "isset ${netX/ip} || dhcp || goto failed\n"
        "iseq ${platform} efi && set arch uefi-x64 || set arch bios\n"
        "iseq ${buildarch} arm64 && set arch uefi-arm64 ||\n"
        f"chain http://{host}/boot.ipxe?{query}&arch=${{arch}} || goto failed\n"
        ":failed\n"
        f"echo The boot script of {host} could not be loaded; the firmware goes on in 10 seconds\n"
        "sleep 10\n"
        "exit 1\n"
    ).encode()


def _pxelinux(machine: Machine | None, plan: BootPlan, mac: Mac, _: IPAddress) -> bytes:
    """PXELINUX is for BIOSes whose UNDI fails iPXE: ``ipxe.lkrn`` has drivers of its own and runs its initrd."""
    lines = [f"# {_title(machine, mac, plan)}", "PROMPT 0", "TIMEOUT 1", "DEFAULT go", "LABEL go"]
    if plan.action in _OWN_DISK:
        lines += ["    LOCALBOOT 0"]
    else:
        lines += ["    KERNEL ::ipxe.lkrn", f"    INITRD ::{mac.hexhyp}/boot.ipxe"]
    return ("\n".join(lines) + "\n").encode()


def _title(machine: Machine | None, mac: Mac, plan: BootPlan) -> str:
    """One harmless line for a comment."""
    return screen_text(f"{machine.name if machine else mac}: {plan.reason}").replace("\n", " ")


def _hardware(suffix: str) -> Mac | None:
    return _mac(suffix.removeprefix(_ETHERNET)) if suffix.startswith(_ETHERNET) else None


def _mac(text: str) -> Mac | None:
    with suppress(InvalidValue, ValueError):
        return Mac.parse(text)
    return None
