-- Delivering effects: the outbox gets a place for each of them, and what became of it.

-- The table is made anew: it had no place for a number that grows by itself.
CREATE TABLE outbox_numbered (
    -- Grows along any chain of cause and effect.
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     INTEGER NOT NULL REFERENCES tenant (number),
    key        TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    body       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    -- When its deliveries were made.
    spread_at  INTEGER,
    UNIQUE (tenant, key)
) STRICT;
INSERT INTO outbox_numbered (tenant, key, kind, body, created_at)
    SELECT tenant, key, kind, body, created_at FROM outbox ORDER BY created_at, key;
DROP TABLE outbox;
ALTER TABLE outbox_numbered RENAME TO outbox;
CREATE INDEX outbox_waiting ON outbox (tenant, position) WHERE spread_at IS NULL;
CREATE INDEX outbox_place ON outbox (tenant, position);

-- An effect on its way to a target. The token grows with each claim; an attempt made under an older
-- one is refused.
CREATE TABLE delivery (
    tenant    INTEGER NOT NULL REFERENCES tenant (number),
    target    TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    -- Of the effect.
    position  INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    -- Those of one aggregate go out in order of position; empty: no order.
    aggregate TEXT    NOT NULL,
    state     TEXT    NOT NULL CHECK (state IN ('due', 'done', 'parked')),
    due_at    INTEGER NOT NULL,
    tries     INTEGER NOT NULL DEFAULT 0,
    token     INTEGER NOT NULL DEFAULT 0,
    holder    TEXT,
    until     INTEGER NOT NULL DEFAULT 0,
    reason    TEXT,
    PRIMARY KEY (tenant, target, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_due ON delivery (tenant, target, due_at, position) WHERE state = 'due';
CREATE INDEX delivery_order ON delivery (tenant, target, aggregate, position) WHERE state = 'due';
CREATE INDEX delivery_place ON delivery (tenant, position, target);
CREATE INDEX delivery_parked ON delivery (tenant, position, target) WHERE state = 'parked';

-- Every attempt, as it ended.
CREATE TABLE delivery_attempt (
    tenant  INTEGER NOT NULL REFERENCES tenant (number),
    key     TEXT    NOT NULL,
    target  TEXT    NOT NULL,
    token   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    outcome TEXT    NOT NULL,
    code    INTEGER,
    error   TEXT,
    micros  INTEGER NOT NULL,
    PRIMARY KEY (tenant, key, target, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_attempt_outcome ON delivery_attempt (tenant, target, outcome, at);
