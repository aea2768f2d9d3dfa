-- The foundation: ledger, aggregates, catalog, invoices, runs, journal, outbox.
--
-- Times are UTC microseconds in bigint: the one unit everywhere. Keys of customer data begin with
-- lane_id, which is the distribution column where the database is sharded.
--
-- Names are compared by their bytes (COLLATE "C"): the order is the program's own, pages cannot
-- shift when an operating system's collation does, and comparing is cheap. Decimals are numeric.
-- What a digest was taken over is text, because jsonb would not give the same bytes back.

CREATE TABLE tenant (
    number        bigint PRIMARY KEY,
    id            text   COLLATE "C" NOT NULL UNIQUE,
    lanes         bigint NOT NULL CHECK (lanes BETWEEN 1 AND 64),
    future_micros bigint NOT NULL,
    past_micros   bigint NOT NULL
);

-- One row per lane; locking it is what orders appends. Every append updates it in place, so its
-- pages are kept nearly empty.
CREATE TABLE lane (
    lane_id     bigint PRIMARY KEY,
    tenant      bigint NOT NULL,
    position    bigint NOT NULL,
    recorded_at bigint NOT NULL
) WITH (fillfactor = 10);
CREATE INDEX lane_tenant ON lane (tenant);

-- Columns of fixed width come first: no padding.
CREATE TABLE usage_event (
    lane_id     bigint  NOT NULL,
    position    bigint  NOT NULL,
    recorded_at bigint  NOT NULL,
    -- NULL: the producer gave no time; recorded_at counts.
    time        bigint,
    -- Position of the corrected event, for corrections.
    target      bigint,
    -- First half of SHA-256 over tenant, source and id: dedupe, for ever. The full identity is
    -- compared whenever a key is found taken. Sixteen bytes; uuid is the narrowest type for them,
    -- and makes the index a quarter smaller than bytea does.
    key         uuid    NOT NULL,
    -- The seal: RFC 9162 leaf hash over tenant, lane, position, recorded_at and content.
    leaf        bytea   NOT NULL,
    customer    text    COLLATE "C" NOT NULL,
    type        text    COLLATE "C" NOT NULL,
    source      text    COLLATE "C" NOT NULL,
    id          text    COLLATE "C" NOT NULL,
    quantity    numeric NOT NULL,
    -- unit, properties, subject, resource, user, reverses, amends as JSON; NULL: none of them.
    body        text    COLLATE "C",
    PRIMARY KEY (lane_id, position)
);
-- Dedupe reaches over all lanes of a tenant, as long as the database is not sharded.
CREATE UNIQUE INDEX usage_event_key ON usage_event (key);
CREATE INDEX usage_event_target ON usage_event (lane_id, target) WHERE target IS NOT NULL;

-- One UTC day of one customer, meter and group.
CREATE TABLE aggregate (
    lane_id  bigint NOT NULL,
    customer text   COLLATE "C" NOT NULL,
    day      bigint NOT NULL,
    meter    text   COLLATE "C" NOT NULL,
    -- JSON array of the group_by values; empty for meters without groups.
    grp      text   COLLATE "C" NOT NULL,
    first    bigint NOT NULL,
    last     bigint NOT NULL,
    touched  bigint NOT NULL,
    state    text   COLLATE "C" NOT NULL,
    -- The day's hours: {"5": [state, first, last, touched], …}
    hours    text   COLLATE "C" NOT NULL,
    PRIMARY KEY (lane_id, customer, day, meter, grp)
) WITH (fillfactor = 80);

-- Members of unique counts, by hour.
CREATE TABLE aggregate_member (
    lane_id  bigint NOT NULL,
    customer text   COLLATE "C" NOT NULL,
    meter    text   COLLATE "C" NOT NULL,
    hour     bigint NOT NULL,
    grp      text   COLLATE "C" NOT NULL,
    member   text   COLLATE "C" NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (lane_id, customer, meter, hour, grp, member)
);

-- How far each meter is projected.
CREATE TABLE projection (
    lane_id  bigint NOT NULL,
    meter    text   COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (lane_id, meter)
) WITH (fillfactor = 50);

CREATE TABLE customer (
    tenant bigint NOT NULL,
    id     text   COLLATE "C" NOT NULL,
    body   text   COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE subscription (
    tenant   bigint NOT NULL,
    id       text   COLLATE "C" NOT NULL,
    customer text   COLLATE "C" NOT NULL,
    body     text   COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX subscription_customer ON subscription (tenant, customer, id);

CREATE TABLE price_book (
    tenant         bigint NOT NULL,
    name           text   COLLATE "C" NOT NULL,
    version        text   COLLATE "C" NOT NULL,
    digest         bytea  NOT NULL,
    effective_from text   COLLATE "C" NOT NULL,
    text           text   COLLATE "C" NOT NULL,
    published_at   bigint NOT NULL,
    PRIMARY KEY (tenant, name, version)
);

CREATE TABLE meter (
    tenant     bigint NOT NULL,
    key        text   COLLATE "C" NOT NULL,
    definition bytea  NOT NULL,
    spec       text   COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, key)
);

CREATE TABLE invoice (
    tenant       bigint  NOT NULL,
    id           text    COLLATE "C" NOT NULL,
    customer     text    COLLATE "C" NOT NULL,
    subscription text    COLLATE "C" NOT NULL,
    cycle        bigint  NOT NULL,
    revision     bigint  NOT NULL,
    due_cycle_at bigint  NOT NULL,
    -- Ledger watermark: events of the customer's lane up to this position were looked at.
    position     bigint  NOT NULL,
    state        text    COLLATE "C" NOT NULL
        CHECK (state IN ('draft', 'pending', 'paid', 'overdue', 'uncollectible', 'void')),
    number       text    COLLATE "C",
    issued_at    bigint,
    due_at       bigint,
    currency     text    COLLATE "C" NOT NULL,
    total        numeric NOT NULL,
    digest       bytea   NOT NULL,
    -- The bytes the digest is taken over.
    body         text    COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, id),
    -- At most one invoice per cycle and revision, whoever computes it.
    UNIQUE (tenant, subscription, cycle, revision),
    UNIQUE (tenant, number),
    CHECK (state = 'draft' OR (number IS NOT NULL AND issued_at IS NOT NULL))
);
CREATE INDEX invoice_due ON invoice (tenant, due_cycle_at, id);

-- Last number given out per series. Its row is locked from giving a number out to committing it.
CREATE TABLE invoice_series (
    tenant bigint NOT NULL,
    series text   COLLATE "C" NOT NULL,
    last   bigint NOT NULL,
    PRIMARY KEY (tenant, series)
) WITH (fillfactor = 50);

CREATE TABLE invoice_run (
    tenant       bigint NOT NULL,
    id           text   COLLATE "C" NOT NULL,
    period       text   COLLATE "C" NOT NULL,
    attempt      bigint NOT NULL,
    state        text   COLLATE "C" NOT NULL,
    started_at   bigint NOT NULL,
    approved_by  text   COLLATE "C",
    approved_at  bigint,
    finalized_at bigint,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, period, attempt)
);

CREATE TABLE run_item (
    tenant       bigint NOT NULL,
    run          text   COLLATE "C" NOT NULL,
    subscription text   COLLATE "C" NOT NULL,
    cycle        bigint NOT NULL,
    customer     text   COLLATE "C" NOT NULL,
    status       text   COLLATE "C" NOT NULL,
    reason       text   COLLATE "C",
    invoice      text   COLLATE "C",
    currency     text   COLLATE "C",
    total        numeric,
    previous     numeric,
    PRIMARY KEY (tenant, run, subscription, cycle)
) WITH (fillfactor = 80);

-- Billing facts: append-only, contiguous per tenant.
CREATE TABLE journal (
    tenant   bigint NOT NULL,
    position bigint NOT NULL,
    kind     text   COLLATE "C" NOT NULL,
    key      text   COLLATE "C" NOT NULL,
    at       bigint NOT NULL,
    body     text   COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, position),
    UNIQUE (tenant, key)
);

-- Effects to deliver, written with what caused them.
CREATE TABLE outbox (
    tenant     bigint NOT NULL,
    key        text   COLLATE "C" NOT NULL,
    kind       text   COLLATE "C" NOT NULL,
    body       text   COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant, key)
);

-- Append-only by right as well as by code, also for whoever is connected with another program.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: rows are never updated or deleted', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER usage_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON usage_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER price_book_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON price_book
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER invoice_not_emptied BEFORE TRUNCATE ON invoice
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.state <> 'draft' THEN
            RAISE EXCEPTION 'a finalized invoice is never deleted'
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN OLD;
    END IF;
    IF OLD.state <> 'draft' AND (
        NEW.state = 'draft'
        OR (NEW.tenant, NEW.id, NEW.customer, NEW.subscription, NEW.cycle, NEW.revision,
            NEW.due_cycle_at, NEW.position, NEW.number, NEW.issued_at, NEW.due_at, NEW.currency,
            NEW.total, NEW.digest, NEW.body)
           IS DISTINCT FROM
           (OLD.tenant, OLD.id, OLD.customer, OLD.subscription, OLD.cycle, OLD.revision,
            OLD.due_cycle_at, OLD.position, OLD.number, OLD.issued_at, OLD.due_at, OLD.currency,
            OLD.total, OLD.digest, OLD.body))
    THEN
        RAISE EXCEPTION 'a finalized invoice never changes' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoice_immutable BEFORE UPDATE OR DELETE ON invoice
    FOR EACH ROW EXECUTE FUNCTION refuse_invoice_change();
