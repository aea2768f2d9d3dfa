-- Who may ask, what was asked before, and who did what.

CREATE TABLE api_key (
    tenant       INTEGER NOT NULL REFERENCES tenant (number),
    id           TEXT    NOT NULL,
    -- The readable front of the secret; finds the row, proves nothing.
    prefix       TEXT    NOT NULL UNIQUE,
    digest       BLOB    NOT NULL,
    name         TEXT    NOT NULL,
    scopes       TEXT    NOT NULL,
    customer     TEXT,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_expiry ON api_key (tenant, expires_at);

-- A request that names a key takes effect once; what it was answered is kept with it.
CREATE TABLE claim (
    tenant      INTEGER NOT NULL REFERENCES tenant (number),
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    at          INTEGER NOT NULL,
    status      INTEGER,
    answer      TEXT,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX claim_age ON claim (tenant, at);

-- Append-only, contiguous per tenant.
CREATE TABLE audit (
    tenant    INTEGER NOT NULL REFERENCES tenant (number),
    position  INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    request   TEXT    NOT NULL,
    PRIMARY KEY (tenant, position)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
