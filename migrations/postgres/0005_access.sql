-- Who may ask, what was asked before, and who did what.

CREATE TABLE api_key (
    tenant       bigint NOT NULL,
    id           text COLLATE "C" NOT NULL,
    -- The readable front of the secret; finds the row, proves nothing.
    prefix       text COLLATE "C" NOT NULL UNIQUE,
    digest       bytea  NOT NULL,
    name         text COLLATE "C" NOT NULL,
    scopes       text COLLATE "C" NOT NULL,
    customer     text COLLATE "C",
    created_at   bigint NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    last_used_at bigint,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX api_key_expiry ON api_key (tenant, expires_at);

-- A request that names a key takes effect once; what it was answered is kept with it.
CREATE TABLE claim (
    tenant      bigint NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint bytea  NOT NULL,
    at          bigint NOT NULL,
    status      bigint,
    answer      text COLLATE "C",
    PRIMARY KEY (tenant, key)
);
CREATE INDEX claim_age ON claim (tenant, at);

-- Append-only, contiguous per tenant.
CREATE TABLE audit (
    tenant    bigint NOT NULL,
    position  bigint NOT NULL,
    at        bigint NOT NULL,
    actor     text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    subject   text COLLATE "C" NOT NULL,
    request   text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, position)
);
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
