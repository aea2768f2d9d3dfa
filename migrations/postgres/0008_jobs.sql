-- Jobs: what is due when, what came of it, what is left alone until somebody looks.

-- How far a job's schedule was looked at, and whether it rests.
CREATE TABLE job (
    tenant       bigint NOT NULL,
    job          text   COLLATE "C" NOT NULL,
    through      bigint,
    pause_by     text   COLLATE "C",
    pause_reason text   COLLATE "C",
    pause_at     bigint,
    PRIMARY KEY (tenant, job)
) WITH (fillfactor = 50);

-- One row for each time a job was due. Whoever works on it holds the lease `job/TENANT/JOB`.
CREATE TABLE job_run (
    tenant        bigint NOT NULL,
    job           text   COLLATE "C" NOT NULL,
    scheduled_for bigint NOT NULL,
    state         text   COLLATE "C" NOT NULL CHECK (state IN ('due', 'running', 'done', 'parked')),
    due_at        bigint NOT NULL,
    asked_by      text   COLLATE "C",
    holder        text   COLLATE "C",
    starts        bigint NOT NULL DEFAULT 0,
    attempts      bigint NOT NULL DEFAULT 0,
    started_at    bigint,
    ended_at      bigint,
    progress      bigint NOT NULL DEFAULT 0,
    outcome       text   COLLATE "C",
    error         text   COLLATE "C",
    PRIMARY KEY (tenant, job, scheduled_for)
) WITH (fillfactor = 80);
CREATE INDEX job_run_unsettled ON job_run (tenant, job, scheduled_for) WHERE state <> 'done';
CREATE INDEX job_run_history ON job_run (tenant, scheduled_for, job);

-- What a job could not do for one customer, grant, invoice …: tried again, then parked.
CREATE TABLE job_item (
    tenant   bigint NOT NULL,
    job      text   COLLATE "C" NOT NULL,
    item     text   COLLATE "C" NOT NULL,
    attempts bigint NOT NULL,
    parked   boolean NOT NULL,
    at       bigint NOT NULL,
    error    text   COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, job, item)
);

SELECT secure_tenants(), grant_roles();
