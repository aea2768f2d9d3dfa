-- The foundation: ledger, aggregates, catalog, invoices, runs, journal, outbox.
--
-- Times are UTC microseconds. Decimals are canonical TEXT (SQLite has no exact decimal).
-- Keys of customer data begin with lane_id, which is the distribution column where the database
-- is sharded.

CREATE TABLE tenant (
    number        INTEGER PRIMARY KEY,
    id            TEXT    NOT NULL UNIQUE,
    lanes         INTEGER NOT NULL CHECK (lanes BETWEEN 1 AND 64),
    future_micros INTEGER NOT NULL,
    past_micros   INTEGER NOT NULL
) STRICT;

-- One row per lane; writing it is what orders appends.
CREATE TABLE lane (
    lane_id     INTEGER PRIMARY KEY,
    tenant      INTEGER NOT NULL REFERENCES tenant (number),
    position    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL
) STRICT;

CREATE TABLE usage_event (
    lane_id     INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    -- First half of SHA-256 over tenant, source and id: dedupe, for ever. The full identity is
    -- compared whenever a key is found taken.
    key         BLOB    NOT NULL,
    -- The seal: RFC 9162 leaf hash over tenant, lane, position, recorded_at and content.
    leaf        BLOB    NOT NULL,
    recorded_at INTEGER NOT NULL,
    -- NULL: the producer gave no time; recorded_at counts.
    time        INTEGER,
    customer    TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    quantity    TEXT    NOT NULL,
    -- unit, properties, subject, resource, user, reverses, amends as JSON; NULL: none of them.
    body        TEXT,
    -- Position of the corrected event, for corrections.
    target      INTEGER,
    PRIMARY KEY (lane_id, position)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX usage_event_key ON usage_event (key);
CREATE INDEX usage_event_target ON usage_event (lane_id, target) WHERE target IS NOT NULL;

-- The ledger is append-only, also for whoever holds the file open with another program.
CREATE TRIGGER usage_event_no_update BEFORE UPDATE ON usage_event
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: rows are never updated'); END;
CREATE TRIGGER usage_event_no_delete BEFORE DELETE ON usage_event
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: rows are never deleted'); END;

-- One UTC day of one customer, meter and group.
CREATE TABLE aggregate (
    lane_id  INTEGER NOT NULL,
    customer TEXT    NOT NULL,
    day      INTEGER NOT NULL,
    meter    TEXT    NOT NULL,
    -- JSON array of the group_by values; empty for meters without groups.
    grp      TEXT    NOT NULL,
    state    TEXT    NOT NULL,
    first    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    touched  INTEGER NOT NULL,
    -- The day's hours: {"5": [state, first, last, touched], …}
    hours    TEXT    NOT NULL,
    PRIMARY KEY (lane_id, customer, day, meter, grp)
) STRICT, WITHOUT ROWID;

-- Members of unique counts, by hour.
CREATE TABLE aggregate_member (
    lane_id  INTEGER NOT NULL,
    customer TEXT    NOT NULL,
    meter    TEXT    NOT NULL,
    hour     INTEGER NOT NULL,
    grp      TEXT    NOT NULL,
    member   TEXT    NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (lane_id, customer, meter, hour, grp, member)
) STRICT, WITHOUT ROWID;

-- How far each meter is projected.
CREATE TABLE projection (
    lane_id  INTEGER NOT NULL,
    meter    TEXT    NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (lane_id, meter)
) STRICT, WITHOUT ROWID;

CREATE TABLE customer (
    tenant INTEGER NOT NULL REFERENCES tenant (number),
    id     TEXT    NOT NULL,
    body   TEXT    NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscription (
    tenant   INTEGER NOT NULL REFERENCES tenant (number),
    id       TEXT    NOT NULL,
    customer TEXT    NOT NULL,
    body     TEXT    NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX subscription_customer ON subscription (tenant, customer, id);

CREATE TABLE price_book (
    tenant         INTEGER NOT NULL REFERENCES tenant (number),
    name           TEXT    NOT NULL,
    version        TEXT    NOT NULL,
    digest         BLOB    NOT NULL,
    effective_from TEXT    NOT NULL,
    text           TEXT    NOT NULL,
    published_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, version)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER price_book_no_update BEFORE UPDATE ON price_book
BEGIN SELECT RAISE(ABORT, 'a published price book never changes'); END;
CREATE TRIGGER price_book_no_delete BEFORE DELETE ON price_book
BEGIN SELECT RAISE(ABORT, 'a published price book is never deleted'); END;

CREATE TABLE meter (
    tenant     INTEGER NOT NULL REFERENCES tenant (number),
    key        TEXT    NOT NULL,
    definition BLOB    NOT NULL,
    spec       TEXT    NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE invoice (
    tenant       INTEGER NOT NULL REFERENCES tenant (number),
    id           TEXT    NOT NULL,
    customer     TEXT    NOT NULL,
    subscription TEXT    NOT NULL,
    cycle        INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    due_cycle_at INTEGER NOT NULL,
    -- Ledger watermark: events of the customer's lane up to this position were looked at.
    position     INTEGER NOT NULL,
    state        TEXT    NOT NULL
        CHECK (state IN ('draft', 'pending', 'paid', 'overdue', 'uncollectible', 'void')),
    number       TEXT,
    issued_at    INTEGER,
    due_at       INTEGER,
    currency     TEXT    NOT NULL,
    total        TEXT    NOT NULL,
    digest       BLOB    NOT NULL,
    body         TEXT    NOT NULL,
    PRIMARY KEY (tenant, id),
    -- At most one invoice per cycle and revision, whoever computes it.
    UNIQUE (tenant, subscription, cycle, revision),
    UNIQUE (tenant, number),
    CHECK (state = 'draft' OR (number IS NOT NULL AND issued_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX invoice_due ON invoice (tenant, due_cycle_at, id);
CREATE TRIGGER invoice_immutable BEFORE UPDATE ON invoice
WHEN OLD.state <> 'draft' AND (
    NEW.state = 'draft'
    OR NEW.tenant IS NOT OLD.tenant OR NEW.id IS NOT OLD.id OR NEW.customer IS NOT OLD.customer
    OR NEW.subscription IS NOT OLD.subscription OR NEW.cycle IS NOT OLD.cycle
    OR NEW.revision IS NOT OLD.revision OR NEW.due_cycle_at IS NOT OLD.due_cycle_at
    OR NEW.position IS NOT OLD.position OR NEW.number IS NOT OLD.number
    OR NEW.issued_at IS NOT OLD.issued_at OR NEW.due_at IS NOT OLD.due_at
    OR NEW.currency IS NOT OLD.currency OR NEW.total IS NOT OLD.total
    OR NEW.digest IS NOT OLD.digest OR NEW.body IS NOT OLD.body)
BEGIN SELECT RAISE(ABORT, 'a finalized invoice never changes'); END;
CREATE TRIGGER invoice_no_delete BEFORE DELETE ON invoice WHEN OLD.state <> 'draft'
BEGIN SELECT RAISE(ABORT, 'a finalized invoice is never deleted'); END;

-- Last number given out per series.
CREATE TABLE invoice_series (
    tenant INTEGER NOT NULL REFERENCES tenant (number),
    series TEXT    NOT NULL,
    last   INTEGER NOT NULL,
    PRIMARY KEY (tenant, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE invoice_run (
    tenant       INTEGER NOT NULL REFERENCES tenant (number),
    id           TEXT    NOT NULL,
    period       TEXT    NOT NULL,
    attempt      INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    started_at   INTEGER NOT NULL,
    approved_by  TEXT,
    approved_at  INTEGER,
    finalized_at INTEGER,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, period, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE run_item (
    tenant       INTEGER NOT NULL REFERENCES tenant (number),
    run          TEXT    NOT NULL,
    subscription TEXT    NOT NULL,
    cycle        INTEGER NOT NULL,
    customer     TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    reason       TEXT,
    invoice      TEXT,
    currency     TEXT,
    total        TEXT,
    previous     TEXT,
    PRIMARY KEY (tenant, run, subscription, cycle)
) STRICT, WITHOUT ROWID;

-- Billing facts: append-only, contiguous per tenant.
CREATE TABLE journal (
    tenant   INTEGER NOT NULL REFERENCES tenant (number),
    position INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    body     TEXT    NOT NULL,
    PRIMARY KEY (tenant, position),
    UNIQUE (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

-- Effects to deliver, written with what caused them.
CREATE TABLE outbox (
    tenant     INTEGER NOT NULL REFERENCES tenant (number),
    key        TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    body       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
