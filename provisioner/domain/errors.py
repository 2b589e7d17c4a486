"""Why a request is refused. Every refusal carries its remedy; doors (CLI, web) only translate."""


class Refused(Exception):
    """A request that cannot be carried out. ``str()`` is the sentence to show, the remedy included."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}" if remedy else problem)


class InvalidValue(Refused):
    """A value that cannot be used, named by its field."""

    def __init__(self, field: str, value: object, why: str, remedy: str) -> None:
        self.field = field
        self.value = value
        self.why = why
        super().__init__(f"{field} {str(value)!r} {why}", remedy)


class Conflict(Refused):
    """A value that somebody else already has (a MAC, an address, a name)."""

    def __init__(self, field: str, value: object, holder: str, remedy: str) -> None:
        self.field = field
        self.value = value
        self.holder = holder
        super().__init__(f"{field} {str(value)!r} already belongs to {holder}", remedy)


class InUse(Conflict):
    """Something cannot go while another thing needs it."""

    def __init__(self, kind: str, name: object, holder: str, remedy: str) -> None:
        self.field = kind
        self.value = name
        self.holder = holder
        Refused.__init__(self, f"{kind} {str(name)!r} is used by {holder}", remedy)


class Overlaps(Conflict):
    """A network that shares addresses with one that is there."""

    def __init__(self, field: str, value: object, other: str, remedy: str) -> None:
        self.field = field
        self.value = value
        self.holder = other
        Refused.__init__(self, f"{field} {str(value)!r} overlaps {other}", remedy)


class NotFound(Refused):
    """Nothing of that kind answers to that name."""

    def __init__(self, kind: str, ref: object, remedy: str = "") -> None:
        self.kind = kind
        self.ref = ref
        super().__init__(f"no {kind} {str(ref)!r}", remedy or f"`provisioner {kind} list` shows what there is")


class IllegalTransition(Refused):
    """The machine's state does not allow what was asked."""


class StaleEdit(Refused):
    """The thing was changed by somebody else since it was read (If-Match failed)."""


class PlanNeeded(Refused):
    """Who asks must have looked at what it changes, and say so by the plan's hash."""


class NotAdmitted(Refused):
    """The asker may not have this: a token that is void, or another place than the machine's."""


class StoreUnavailable(Exception):
    """The database cannot be reached or written now; what was asked may be tried again."""


class BmcError(Refused):
    """A BMC did not do what was asked. ``kind`` is one of the closed list, ``retryable`` says if waiting helps."""

    KINDS = (
        "unreachable",
        "refused",
        "wrong-password",
        "privilege-too-low",
        "session-limit",
        "unsupported",
        "garbage",
    )

    def __init__(self, kind: str, problem: str, remedy: str) -> None:
        if kind not in self.KINDS:
            raise ValueError(kind)
        self.kind = kind
        self.retryable = kind in ("unreachable", "session-limit")
        super().__init__(problem, remedy)
