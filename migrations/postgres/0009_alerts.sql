-- Alerts that fired: one for each rule, meter, threshold and window of a customer.

CREATE TABLE alert (
    tenant       bigint NOT NULL,
    id           text   COLLATE "C" NOT NULL,
    customer     text   COLLATE "C" NOT NULL,
    rule         text   COLLATE "C" NOT NULL,
    -- Empty for spend.
    meter        text   COLLATE "C" NOT NULL,
    threshold    text   COLLATE "C" NOT NULL,
    window_start bigint NOT NULL,
    window_end   bigint NOT NULL,
    at           bigint NOT NULL,
    state        text   COLLATE "C" NOT NULL
        CHECK (state IN ('open', 'acknowledged', 'snoozed', 'resolved')),
    until        bigint,
    changed_by   text   COLLATE "C",
    changed_at   bigint,
    -- Key of the effect that tells of it.
    told         text   COLLATE "C",
    -- As it fired.
    body         text   COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, id),
    -- Fires once, however its id is made.
    UNIQUE (tenant, customer, rule, meter, threshold, window_start)
);
CREATE INDEX alert_age ON alert (tenant, at, id);
CREATE INDEX alert_customer ON alert (tenant, customer, at, id);
CREATE INDEX alert_untold ON alert (tenant, at, id) WHERE told IS NULL;
CREATE INDEX alert_window ON alert (tenant, window_end) WHERE state <> 'resolved';

-- Settings hold the secrets that web hooks are signed with. Who may only read gets them not: they are
-- there for those who may write settings. A restrictive policy holds besides every other one.
CREATE POLICY no_secrets ON setting AS RESTRICTIVE FOR SELECT
    USING (NOT starts_with(key, 'webhook/')
        OR (SELECT has_table_privilege('setting'::regclass, 'INSERT')));

SELECT secure_tenants(), grant_roles();
