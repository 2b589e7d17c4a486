"""What may be asked of machines: the bodies of their actions."""

from pydantic import BaseModel, ConfigDict, Field


class ArmWishes(BaseModel):
    """``wipe`` allows foreign data on the disk to be lost, for this install only."""

    model_config = ConfigDict(extra="forbid")

    hours: float | None = Field(default=None, gt=0, le=8760, description="Deadline; the setting's by default.")
    wipe: bool = False


class PowerWish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    operation: str = Field(description="on, off, cycle, reset or status")


class BootWish(BaseModel):
    """Once, or ``always`` from then on; no power is switched."""

    model_config = ConfigDict(extra="forbid")

    device: str = Field(description="network, disk, cd, setup or default")
    always: bool = False


class MediaWish(BaseModel):
    """``image``: a URL that the BMC reaches, or the path of a payload file; empty takes out; null only looks.

    ``boot``: the next start is from it.
    """

    model_config = ConfigDict(extra="forbid")

    image: str | None = Field(default=None, max_length=1000)
    boot: bool = False


class WavesWish(PowerWish):
    """Machines by name or id, or all of a rack that have a BMC; ``wave`` at a time (0: all), ``every`` seconds."""

    machines: list[str] = Field(default_factory=list, max_length=10_000)
    rack: str = ""
    wave: int = Field(default=0, ge=0)
    every: float = Field(default=0, ge=0, le=3600)
