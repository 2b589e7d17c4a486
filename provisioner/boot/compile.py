"""Everything that a machine will be told, rendered and validated once, when it is armed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from provisioner.boot import context as variables
from provisioner.boot import grub, ignition, release, roles, script, trust, validate
from provisioner.boot.document import InvalidDocument, Problem
from provisioner.boot.payload import PayloadLookup, chosen, no_payload
from provisioner.boot.quoting import ipxe_argument
from provisioner.boot.release import Release
from provisioner.boot.render import Renderer
from provisioner.boot.role_file import is_template
from provisioner.boot.roles import Role
from provisioner.domain.boot import LOADER_LABEL, SHIM, by_grub
from provisioner.domain.errors import NotFound, Refused
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine
from provisioner.domain.menu import Offer
from provisioner.domain.tokens import SERVER


class ImageFile(Protocol):
    @property
    def name(self) -> str: ...


class Image(Protocol):
    """One version of an image, as the images room keeps it. ``problems``: what is missing or damaged."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def files(self) -> Sequence[ImageFile]: ...
    @property
    def problems(self) -> Sequence[str]: ...


ImageLookup = Callable[[str, str | None], Image]
"""That version of an image, or the newest for None. Raises NotFound when there is none."""

_COMMON = {"install.sh": "install.sh.j2", "network": "network.j2"}
PARTS: Mapping[str, Mapping[str, str]] = {
    "cloud-config": {"pxe.yml": "pxe.yml.j2", "config.yml": "config.yml.j2", **_COMMON},
    "butane": {"pxe.ign": "pxe.bu.j2", "ignition.json": "config.bu.j2", **_COMMON},
    "ignition": {"pxe.ign": "pxe.bu.j2", "ignition.json": "config.ign.j2", **_COMMON},
    "preseed": {"preseed.cfg": "preseed.cfg.j2"},
    "autoinstall": {"user-data": "user-data.j2", "meta-data": "meta-data.j2"},
    "talos": {"talos.yaml": "talos.yaml.j2"},
    "none": {},
}
"""Format → compiled part → template; the role's own wins over the shared one. Butane is transpiled."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What arming freezes. ``files`` hold placeholders for tokens and address until they are served."""

    role: str
    revision: str
    files: Mapping[str, bytes] = field(repr=False)
    role_files: Mapping[str, bytes] = field(repr=False)
    on_failure: str
    max_attempts: int
    wipe: bool
    warnings: tuple[str, ...]


DISCOVER = "discover"
"""The role whose image looks at machines that came by themselves."""


class Roles(Protocol):
    """Where roles come from: a folder, or what was activated of it."""

    def names(self) -> list[str]: ...

    def get(self, name: str) -> Role: ...


class RoleCompiler:
    """domain.ports.Compiler over a folder of roles. Thread-safe; ``close`` ends its template worker."""

    def __init__(
        self,
        role_folder: Roles,
        images: ImageLookup,
        renderer: Renderer | None = None,
        payload: PayloadLookup = no_payload,
        *,
        signed: Callable[[str, str, str], bool] = lambda *_: True,
        key: bytes = b"",
    ) -> None:
        """``signed``: does shim take this image's, version's kernel file under Secure Boot? ``key``: the
        appliance's, of which clusters' authorities are derived."""
        self._key = key
        self._roles = role_folder
        self._images = images
        self._payload = payload
        self._signed = signed
        self._renderer = renderer or Renderer()

    def arms_itself(self, role: str) -> bool:
        """Does the role say ``arm: on-discovery``? A role that cannot be read does not."""
        try:
            return self._roles.get(role).settings.arm == "on-discovery"
        except Refused:
            return False

    def compile(self, machine: Machine, inventory: Inventory) -> Compiled:
        """Render and validate. Raises Refused: role, address, subnet or image missing, a template that fails,
        a result that is not valid (InvalidDocument: file, line, key)."""
        if not machine.slot.role:
            raise Refused(
                f"machine {machine.name} has no role", f"`provisioner machine set {machine.name} --role R`"
            )
        # Before the role and its image are looked at: what the operator must do first comes first.
        variables.subnet_of(machine, inventory)
        return self.compile_as(self._roles.get(machine.slot.role), machine, inventory)

    def compile_as(self, role: Role, machine: Machine, inventory: Inventory) -> Compiled:
        """As ``compile``, for this role whatever the machine's slot says."""
        settings = role.settings
        params = roles.parameters(role, machine.slot.params)
        boot = release.netboot(self._release(role), settings.format, settings.boot)
        payload, left_out = chosen(role, self._payload)
        context, warnings = variables.build(machine, inventory, role, params, boot, payload)
        warnings += left_out
        context["cluster"] |= trust.granted(role, machine, inventory, self._key)
        rendered, arguments = self.render(role, context)
        line = release.kernel_line(boot, settings.format, arguments, autologin=settings.autologin)
        trust.refuse_stray_keys(role, rendered)
        parts = _valid(role, rendered)
        if boot.family is release.FEDORA:
            _refuse_payload_left_behind(role, payload, parts["ignition.json"])
        in_memory = settings.in_memory
        parts["boot.ipxe"] = script.install_script(machine.name, role.name, boot, line, in_memory=in_memory)
        if settings.format in grub.FORMATS:
            parts["boot.grub"] = grub.install_config(machine.name, role.name, boot, line)
        elif by_grub(machine):
            raise Refused(
                f"machine {machine.name} is started by GRUB, which cannot start role {role.name}'s format "
                f"{settings.format}",
                f"give it a role with `format:` {', '.join(grub.FORMATS)}, or switch Secure Boot off and drop its "
                f"label {LOADER_LABEL!r}",
            )
        parts |= {f"peers/{name}": text for name, text in _peers(context).items()}
        return Compiled(
            role=role.name,
            revision=role.revision,
            files={name: text.encode() for name, text in parts.items()},
            role_files=role.files,
            on_failure=settings.on_failure,
            max_attempts=settings.max_attempts,
            wipe=context["role"]["wipe"] != "never",
            warnings=(*warnings, *self._unsigned(machine, boot)),
        )

    def offer(self, role: str) -> Offer:
        """The role as a boot menu shows it; one that cannot be read says why. Raises StoreUnavailable."""
        try:
            settings = self._roles.get(role).settings
        except Refused as refusal:
            return Offer(role, "", in_memory=False, fault=refusal.problem)
        return Offer(role, settings.description, settings.in_memory)

    def live(self, role: str, machine: Machine, inventory: Inventory) -> Mapping[str, bytes]:
        """The files of an in-memory role for this machine, whatever its own role is.

        Of its slot's parameters those count that this role has. Raises Refused.
        """
        found = self._roles.get(role)
        if not found.settings.in_memory:
            raise Refused(
                f"role {role} installs, and is not booted from memory",
                f"`provisioner machine set {machine.name} --role {role}`, then arm it",
            )
        own = {name: value for name, value in machine.slot.params.items() if name in found.settings.parameters}
        asked = replace(machine, slot=replace(machine.slot, params=own))
        return self.compile_as(found, asked, inventory).files

    def discovery(self) -> bytes | None:
        """The boot script of the role ``discover``; None: there is no such role. Raises Refused."""
        if DISCOVER not in self._roles.names():
            return None
        role = self._roles.get(DISCOVER)
        if role.settings.format != "none":
            raise Refused(
                f"role {DISCOVER} has the format {role.settings.format}, and who has no role has no config",
                "write `format: none` in its role.yaml",
            )
        settings = role.settings
        if any(map(is_template, settings.kernel_arguments)):
            raise Refused(
                f"role {DISCOVER} has kernel arguments for a machine that is armed",
                f"give the machine an address and role {DISCOVER}, and `provisioner machine install` it",
            )
        boot = release.netboot(self._release(role), settings.format, settings.boot)
        arguments = (f"provisioner.url=http://{SERVER}", *settings.kernel_arguments)
        line = release.kernel_line(boot, settings.format, arguments, autologin=settings.autologin)
        return script.discovery_script(boot, line).encode()

    def _unsigned(self, machine: Machine, boot: release.Netboot) -> list[str]:
        image = boot.release
        if machine.labels.get(LOADER_LABEL) != SHIM or self._signed(image.image, image.version, boot.kernel):
            return []
        return [
            f"the kernel of image {image.image} {image.version} is not signed by Debian: with Secure Boot on, shim "
            "refuses it unless its key is enrolled in the machine (MOK)"
        ]

    def render(self, role: Role, context: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
        """Every part as text, not yet validated, and the kernel arguments. Raises Refused, TemplateRefused."""
        parts, templates = templates_of(role), role.templates
        for template in parts.values():
            if template not in templates:
                raise Refused(
                    f"role {role.name} has no {template}",
                    f"write {role.name}/{template}; shared defaults live in {roles.SHARED}/",
                )
        arguments = list(role.settings.kernel_arguments)
        names = list(parts.values())
        if any(map(is_template, arguments)):
            names.append(roles.ARGUMENTS)
        texts = self._renderer.render_all(role.name, templates, names, context, role.revision) if names else {}
        if roles.ARGUMENTS in texts:
            arguments = _one_a_line(role, arguments, texts[roles.ARGUMENTS])
        return {part: texts[template] for part, template in parts.items()}, arguments

    def close(self) -> None:
        self._renderer.close()

    def _release(self, role: Role) -> Release:
        name, version = role.settings.image, role.settings.image_version
        command = f"`provisioner image import DIR --name {name}`"
        try:
            image = self._images(name, version or None)
        except NotFound:
            wanted = f"{name} {version}".strip()
            raise Refused(f"role {role.name} installs image {wanted}, which is not imported", command) from None
        if image.problems:
            problems = "; ".join(image.problems)
            raise Refused(
                f"image {image.name} {image.version} cannot be used: {problems}", f"import it anew: {command}"
            )
        return Release(image.name, image.version, tuple(file.name for file in image.files))


def templates_of(role: Role) -> dict[str, str]:
    """Part → template: the format's own and what the role lists in ``files``; ``X.ign`` may come from Butane."""
    further = {}
    for name in role.settings.files:
        butane = f"{name.removesuffix('.ign')}.bu.j2"
        further[name] = butane if name.endswith(".ign") and butane in role.templates else f"{name}.j2"
    return {**further, **PARTS[role.settings.format]}


def _one_a_line(role: Role, arguments: Sequence[str], text: str) -> list[str]:
    """The rendered arguments. A value with a line break would make two of one."""
    lines = text.split("\n")
    for argument, line in zip(arguments, lines, strict=False):
        try:
            ipxe_argument(line)
        except ValueError as error:
            raise Refused(
                f"role {role.name} has the kernel argument {argument!r}, here {line!r}: {error}",
                "correct the value that enters it, or `kernel_arguments` in the role",
            ) from None
    if len(lines) != len(arguments):
        raise Refused(
            f"role {role.name} has {len(arguments)} kernel arguments, which become {len(lines)} lines",
            "correct the value with the line break",
        )
    return lines


def _valid(role: Role, rendered: Mapping[str, str]) -> dict[str, str]:
    """The parts as machines read them. Raises InvalidDocument with every fault of every part."""
    templates, parts = templates_of(role), dict(rendered)
    problems: list[Problem] = []
    for part, text in rendered.items():
        if templates[part].endswith(".bu.j2"):
            try:
                parts[part] = ignition.transpiled(text, templates[part].removesuffix(".j2"))
            except InvalidDocument as error:
                problems += error.problems
        else:
            problems += validate.part(part, text)
    if problems:
        remedy = f"correct the role's templates and check with `provisioner role validate {role.name}`"
        raise InvalidDocument([_in_role(role, problem) for problem in problems], remedy)
    return parts


def _refuse_payload_left_behind(role: Role, payload: Sequence[Mapping[str, str]], config: str) -> None:
    """install.sh cannot reach the root of Fedora CoreOS: there Ignition must fetch the payload. Raises Refused."""
    written = {file["path"] for file in json.loads(config).get("storage", {}).get("files", ())}
    if left := [file["path"] for file in payload if file["dest"] not in written]:
        raise Refused(
            f"role {role.name} has the payload {', '.join(left)}, which its config does not fetch",
            "on Fedora CoreOS write storage.files with contents.source and verification.hash for each",
        )


def _in_role(role: Role, problem: Problem) -> Problem:
    return Problem(f"{role.name}, rendered {problem.file}", problem.line, problem.key, problem.message)


def _peers(context: Mapping[str, Any]) -> dict[str, str]:
    """``address name`` lines of the cluster's members, by role; the file that ``/b/TOKEN/peers/ROLE`` serves."""
    by_role: dict[str, str] = {}
    for member in context["cluster"]["machines"]:
        by_role[member["role"]] = by_role.get(member["role"], "") + f"{member['ip']} {member['name']}\n"
    return by_role
