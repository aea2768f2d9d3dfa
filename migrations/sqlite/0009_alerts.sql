-- Alerts that fired: one for each rule, meter, threshold and window of a customer.

CREATE TABLE alert (
    tenant       INTEGER NOT NULL REFERENCES tenant (number),
    id           TEXT    NOT NULL,
    customer     TEXT    NOT NULL,
    rule         TEXT    NOT NULL,
    -- Empty for spend.
    meter        TEXT    NOT NULL,
    threshold    TEXT    NOT NULL,
    window_start INTEGER NOT NULL,
    window_end   INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    state        TEXT    NOT NULL
        CHECK (state IN ('open', 'acknowledged', 'snoozed', 'resolved')),
    until        INTEGER,
    changed_by   TEXT,
    changed_at   INTEGER,
    -- Key of the effect that tells of it.
    told         TEXT,
    -- As it fired.
    body         TEXT    NOT NULL,
    PRIMARY KEY (tenant, id),
    -- Fires once, however its id is made.
    UNIQUE (tenant, customer, rule, meter, threshold, window_start)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_age ON alert (tenant, at, id);
CREATE INDEX alert_customer ON alert (tenant, customer, at, id);
CREATE INDEX alert_untold ON alert (tenant, at, id) WHERE told IS NULL;
CREATE INDEX alert_window ON alert (tenant, window_end) WHERE state <> 'resolved';
