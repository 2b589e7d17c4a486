"""Sensors for ``ipmi_sim``, as lines of its .emu file: records (IPMI 2.0 §43.1 full, §43.2 compact) and values."""

from dataclasses import dataclass

CELSIUS, VOLTS, WATTS, RPM = 1, 4, 6, 18
"""Base units (table 43-15)."""
_TYPES = {CELSIUS: 0x01, VOLTS: 0x02, RPM: 0x04, WATTS: 0x0B}
"""Sensor types (table 42-3)."""


@dataclass(frozen=True)
class Analog:
    """A threshold sensor that reads ``raw`` × ``m`` × 10**``exponent``. Limits: non-critical and critical, raw."""

    name: str
    unit: int
    raw: int
    m: int = 1
    exponent: int = 0
    upper: tuple[int, int] = (250, 252)
    lower: tuple[int, int] = (1, 0)

    def lines(self, number: int) -> str:
        uncritical, critical = self.upper
        low, lowest = self.lower
        body = bytes(
            [
                *(0x20, 0, number, 3, number, 0x7F, 0x68, _TYPES[self.unit], 0x01),
                *(0xFF, 0x0F, 0xFF, 0x0F, 0x3F, 0x3F),  # all thresholds make events and can be read
                *(0, self.unit, 0, 0),  # unsigned, linear
                *(self.m & 0xFF, self.m >> 8 << 6, 0, 0, 0, (self.exponent & 0xF) << 4),
                *(0, 0, 0, 0, 255, 0),
                *(254, critical, uncritical, 0, lowest, low),
                *(1, 1, 0, 0, 0),
            ]
        )
        thresholds = f"0xfe {critical:#x} {uncritical:#x} 0x00 {lowest:#x} {low:#x}"
        return (
            f"sensor_add 0x20 0 {number} {_TYPES[self.unit]:#x} 0x01\n"
            f"sensor_set_threshold 0x20 0 {number} settable 111111 {thresholds}\n"
            f"{_events(number, '000111111111111')}"
            f"sensor_set_value 0x20 0 {number} {self.raw:#x} 0\n" + _record(0x01, body, self.name)
        )


@dataclass(frozen=True)
class Supply:
    """A power supply, there and perhaps failed (sensor type 08h, offsets 0 and 1)."""

    name: str
    failed: bool

    def lines(self, number: int) -> str:
        body = bytes(
            [
                *(0x20, 0, number, 10, number, 0x67, 0x40, 0x08, 0x6F),
                *(0x03, 0, 0x03, 0, 0x03, 0),
                *(0xC0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0),
            ]
        )
        return (
            f"sensor_add 0x20 0 {number} 0x08 0x6f\n"
            f"{_events(number, '000000000000011')}"
            f"sensor_set_bit 0x20 0 {number} 0 1 0\n"
            f"sensor_set_bit 0x20 0 {number} 1 {int(self.failed)} 0\n" + _record(0x02, body, self.name)
        )


def _events(number: int, mask: str) -> str:
    return f"sensor_set_event_support 0x20 0 {number} enable scanning per-state {' '.join([mask] * 4)}\n"


def _record(kind: int, body: bytes, name: str) -> str:
    body += bytes([0xC0 | len(name)]) + name.encode()
    record = bytes([0, 0, 0x51, kind, len(body)]) + body
    return f"main_sdr_add 0x20 {' '.join(f'{byte:#04x}' for byte in record)}\n"
