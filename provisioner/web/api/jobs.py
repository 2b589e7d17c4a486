"""Jobs: long work and what came of it."""

from datetime import datetime
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from provisioner.domain.records import Job
from provisioner.web.api.paging import After, Limit, Page, cut
from provisioner.web.api.times import moment
from provisioner.web.parts import Parts


class JobOut(BaseModel):
    """``state``: queued, running, done, failed, partly. ``result``: what came of each target."""

    id: str
    kind: str
    state: str
    done: int
    total: int
    actor: str
    created_at: datetime
    args: dict[str, Any]
    result: dict[str, Any]


def shown(job: Job) -> JobOut:
    return JobOut(
        id=str(job.id),
        kind=job.kind,
        state=job.state,
        done=job.done,
        total=job.total,
        actor=job.actor,
        created_at=moment(job.created_at),
        args=dict(job.args),
        result=dict(job.result),
    )


def accepted(response: Response, job: Job) -> JobOut:
    """For 202: where the job can be followed."""
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return shown(job)


class Jobs:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self, after: After = "", limit: Limit = 100) -> Page[JobOut]:
        """Jobs, oldest first."""
        with self._parts.store.reading() as tx:
            jobs = tx.jobs.list()
        return cut(jobs, lambda job: f"{job.created_at:020}-{job.id}", after, limit, shown)

    def one(self, ref: str) -> JobOut:
        """One job and its progress."""
        with self._parts.store.reading() as tx:
            return shown(tx.jobs.get(ref))
