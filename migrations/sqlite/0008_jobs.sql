-- Jobs: what is due when, what came of it, what is left alone until somebody looks.

-- How far a job's schedule was looked at, and whether it rests.
CREATE TABLE job (
    tenant       INTEGER NOT NULL REFERENCES tenant (number),
    job          TEXT    NOT NULL,
    through      INTEGER,
    pause_by     TEXT,
    pause_reason TEXT,
    pause_at     INTEGER,
    PRIMARY KEY (tenant, job)
) STRICT, WITHOUT ROWID;

-- One row for each time a job was due. Whoever works on it holds the lease `job/TENANT/JOB`.
CREATE TABLE job_run (
    tenant        INTEGER NOT NULL REFERENCES tenant (number),
    job           TEXT    NOT NULL,
    scheduled_for INTEGER NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('due', 'running', 'done', 'parked')),
    due_at        INTEGER NOT NULL,
    asked_by      TEXT,
    holder        TEXT,
    starts        INTEGER NOT NULL DEFAULT 0,
    attempts      INTEGER NOT NULL DEFAULT 0,
    started_at    INTEGER,
    ended_at      INTEGER,
    progress      INTEGER NOT NULL DEFAULT 0,
    outcome       TEXT,
    error         TEXT,
    PRIMARY KEY (tenant, job, scheduled_for)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_run_unsettled ON job_run (tenant, job, scheduled_for) WHERE state <> 'done';
CREATE INDEX job_run_history ON job_run (tenant, scheduled_for, job);

-- What a job could not do for one customer, grant, invoice …: tried again, then parked.
CREATE TABLE job_item (
    tenant   INTEGER NOT NULL REFERENCES tenant (number),
    job      TEXT    NOT NULL,
    item     TEXT    NOT NULL,
    attempts INTEGER NOT NULL,
    parked   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    error    TEXT    NOT NULL,
    PRIMARY KEY (tenant, job, item)
) STRICT, WITHOUT ROWID;
