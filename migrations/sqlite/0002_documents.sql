-- What follows an invoice: documents, accounts and their postings; settings; parts of a cycle.

CREATE TABLE document (
    tenant   INTEGER NOT NULL REFERENCES tenant (number),
    kind     TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    customer TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    number   TEXT,
    at       INTEGER NOT NULL,
    digest   BLOB    NOT NULL,
    body     TEXT    NOT NULL,
    PRIMARY KEY (tenant, kind, id),
    UNIQUE (tenant, kind, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_customer ON document (tenant, kind, customer, id);
CREATE INDEX document_subject ON document (tenant, kind, subject, id);
CREATE TRIGGER document_no_update BEFORE UPDATE ON document
BEGIN SELECT RAISE(ABORT, 'a document never changes'); END;
CREATE TRIGGER document_no_delete BEFORE DELETE ON document
BEGIN SELECT RAISE(ABORT, 'a document is never deleted'); END;

CREATE TABLE account (
    tenant   INTEGER NOT NULL REFERENCES tenant (number),
    name     TEXT    NOT NULL,
    customer TEXT    NOT NULL,
    unit     TEXT    NOT NULL,
    balance  TEXT    NOT NULL CHECK (substr(balance, 1, 1) <> '-'),
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX account_customer ON account (tenant, customer, name);

-- Append-only, contiguous per tenant.
CREATE TABLE posting (
    tenant    INTEGER NOT NULL REFERENCES tenant (number),
    position  INTEGER NOT NULL,
    key       TEXT    NOT NULL,
    account   TEXT    NOT NULL,
    amount    TEXT    NOT NULL,
    balance   TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    cause     TEXT    NOT NULL,
    reference TEXT    NOT NULL,
    PRIMARY KEY (tenant, position),
    UNIQUE (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX posting_account ON posting (tenant, account, position);
CREATE TRIGGER posting_no_update BEFORE UPDATE ON posting
BEGIN SELECT RAISE(ABORT, 'postings are append-only'); END;
CREATE TRIGGER posting_no_delete BEFORE DELETE ON posting
BEGIN SELECT RAISE(ABORT, 'postings are append-only'); END;

CREATE TABLE setting (
    tenant INTEGER NOT NULL REFERENCES tenant (number),
    key    TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

-- A cycle may be billed in parts before it closes. SQLite cannot widen a unique key in place.
CREATE TABLE invoice_with_parts (
    tenant       INTEGER NOT NULL REFERENCES tenant (number),
    id           TEXT    NOT NULL,
    customer     TEXT    NOT NULL,
    subscription TEXT    NOT NULL,
    cycle        INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    part         INTEGER NOT NULL DEFAULT 0,
    due_cycle_at INTEGER NOT NULL,
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
    -- At most one invoice per cycle, revision and part, whoever computes it.
    UNIQUE (tenant, subscription, cycle, revision, part),
    UNIQUE (tenant, number),
    CHECK (state = 'draft' OR (number IS NOT NULL AND issued_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO invoice_with_parts (tenant, id, customer, subscription, cycle, revision, due_cycle_at,
    position, state, number, issued_at, due_at, currency, total, digest, body)
SELECT tenant, id, customer, subscription, cycle, revision, due_cycle_at,
    position, state, number, issued_at, due_at, currency, total, digest, body FROM invoice;
DROP TABLE invoice;
ALTER TABLE invoice_with_parts RENAME TO invoice;
CREATE INDEX invoice_due ON invoice (tenant, due_cycle_at, id);
CREATE INDEX invoice_state ON invoice (tenant, state, due_cycle_at, id);
CREATE INDEX invoice_customer ON invoice (tenant, customer, due_cycle_at, id);
CREATE TRIGGER invoice_immutable BEFORE UPDATE ON invoice
WHEN OLD.state <> 'draft' AND (
    NEW.state = 'draft'
    OR NEW.tenant IS NOT OLD.tenant OR NEW.id IS NOT OLD.id OR NEW.customer IS NOT OLD.customer
    OR NEW.subscription IS NOT OLD.subscription OR NEW.cycle IS NOT OLD.cycle
    OR NEW.revision IS NOT OLD.revision OR NEW.part IS NOT OLD.part
    OR NEW.due_cycle_at IS NOT OLD.due_cycle_at
    OR NEW.position IS NOT OLD.position OR NEW.number IS NOT OLD.number
    OR NEW.issued_at IS NOT OLD.issued_at OR NEW.due_at IS NOT OLD.due_at
    OR NEW.currency IS NOT OLD.currency OR NEW.total IS NOT OLD.total
    OR NEW.digest IS NOT OLD.digest OR NEW.body IS NOT OLD.body)
BEGIN SELECT RAISE(ABORT, 'a finalized invoice never changes'); END;
CREATE TRIGGER invoice_no_delete BEFORE DELETE ON invoice WHEN OLD.state <> 'draft'
BEGIN SELECT RAISE(ABORT, 'a finalized invoice is never deleted'); END;
