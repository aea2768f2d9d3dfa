-- The foundation: ledger, aggregates, catalog, invoices, runs, journal, outbox.
--
-- Times are UTC microseconds in bigint: the one unit everywhere. Keys of customer data begin with
-- lane_id, which is the distribution column where the database is sharded.

CREATE TABLE tenant (
    number        bigint PRIMARY KEY,
    id            text   NOT NULL UNIQUE,
    lanes         integer NOT NULL CHECK (lanes BETWEEN 1 AND 64),
    future_micros bigint NOT NULL,
    past_micros   bigint NOT NULL
);

-- One row per lane; locking it is what orders appends.
CREATE TABLE lane (
    lane_id     bigint PRIMARY KEY,
    tenant      bigint NOT NULL,
    position    bigint NOT NULL,
    recorded_at bigint NOT NULL
) WITH (fillfactor = 50); -- updated in place by every append

CREATE TABLE usage_event (
    lane_id     bigint  NOT NULL,
    position    bigint  NOT NULL,
    key         bytea   NOT NULL,
    leaf        bytea   NOT NULL,
    recorded_at bigint  NOT NULL,
    time        bigint,
    customer    text    NOT NULL,
    type        text    NOT NULL,
    source      text    NOT NULL,
    id          text    NOT NULL,
    quantity    numeric NOT NULL,
    body        text,
    target      bigint,
    PRIMARY KEY (lane_id, position)
);

CREATE UNIQUE INDEX usage_event_key ON usage_event (lane_id, key);
CREATE INDEX usage_event_target ON usage_event (lane_id, target) WHERE target IS NOT NULL;

CREATE TABLE aggregate (
    lane_id  bigint   NOT NULL,
    customer text     NOT NULL,
    day      bigint   NOT NULL,
    meter    text     NOT NULL,
    grp      text     NOT NULL,
    state    text     NOT NULL,
    first    bigint   NOT NULL,
    last     bigint   NOT NULL,
    touched  bigint   NOT NULL,
    hours    text     NOT NULL,
    PRIMARY KEY (lane_id, customer, day, meter, grp)
);

CREATE TABLE aggregate_member (
    lane_id  bigint NOT NULL,
    customer text   NOT NULL,
    meter    text   NOT NULL,
    hour     bigint NOT NULL,
    grp      text   NOT NULL,
    member   text   NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (lane_id, customer, meter, hour, grp, member)
);

CREATE TABLE projection (
    lane_id  bigint NOT NULL,
    meter    text   NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (lane_id, meter)
);

CREATE TABLE customer (
    tenant bigint NOT NULL,
    id     text   NOT NULL,
    body   text   NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE subscription (
    tenant   bigint NOT NULL,
    id       text   NOT NULL,
    customer text   NOT NULL,
    body     text   NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX subscription_customer ON subscription (tenant, customer, id);

CREATE TABLE price_book (
    tenant         bigint NOT NULL,
    name           text   NOT NULL,
    version        text   NOT NULL,
    digest         bytea  NOT NULL,
    effective_from text   NOT NULL,
    text           text   NOT NULL,
    published_at   bigint NOT NULL,
    PRIMARY KEY (tenant, name, version)
);

CREATE TABLE meter (
    tenant     bigint NOT NULL,
    key        text   NOT NULL,
    definition bytea  NOT NULL,
    spec       text   NOT NULL,
    PRIMARY KEY (tenant, key)
);

CREATE TABLE invoice (
    tenant       bigint NOT NULL,
    id           text   NOT NULL,
    customer     text   NOT NULL,
    subscription text   NOT NULL,
    cycle        bigint NOT NULL,
    revision     bigint NOT NULL,
    due_cycle_at bigint NOT NULL,
    position     bigint NOT NULL,
    state        text   NOT NULL
        CHECK (state IN ('draft', 'pending', 'paid', 'overdue', 'uncollectible', 'void')),
    number       text,
    issued_at    bigint,
    due_at       bigint,
    currency     text   NOT NULL,
    total        numeric NOT NULL,
    digest       bytea  NOT NULL,
    body         text   NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, subscription, cycle, revision),
    UNIQUE (tenant, number),
    CHECK (state = 'draft' OR (number IS NOT NULL AND issued_at IS NOT NULL))
);
CREATE INDEX invoice_due ON invoice (tenant, due_cycle_at, id);

CREATE TABLE invoice_series (
    tenant bigint NOT NULL,
    series text   NOT NULL,
    last   bigint NOT NULL,
    PRIMARY KEY (tenant, series)
);

CREATE TABLE invoice_run (
    tenant       bigint NOT NULL,
    id           text   NOT NULL,
    period       text   NOT NULL,
    attempt      bigint NOT NULL,
    state        text   NOT NULL,
    started_at   bigint NOT NULL,
    approved_by  text,
    approved_at  bigint,
    finalized_at bigint,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, period, attempt)
);

CREATE TABLE run_item (
    tenant       bigint NOT NULL,
    run          text   NOT NULL,
    subscription text   NOT NULL,
    cycle        bigint NOT NULL,
    customer     text   NOT NULL,
    status       text   NOT NULL,
    reason       text,
    invoice      text,
    currency     text,
    total        numeric,
    previous     numeric,
    PRIMARY KEY (tenant, run, subscription, cycle)
);

CREATE TABLE journal (
    tenant   bigint NOT NULL,
    position bigint NOT NULL,
    kind     text   NOT NULL,
    key      text   NOT NULL,
    at       bigint NOT NULL,
    body     text   NOT NULL,
    PRIMARY KEY (tenant, position),
    UNIQUE (tenant, key)
);

CREATE TABLE outbox (
    tenant     bigint NOT NULL,
    key        text   NOT NULL,
    kind       text   NOT NULL,
    body       text   NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (tenant, key)
);

-- Append-only by right as well as by code: what is recorded is never updated or deleted.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: rows are never updated or deleted', TG_TABLE_NAME;
END $$;
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER price_book_append_only BEFORE UPDATE OR DELETE ON price_book
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.state <> 'draft' THEN
            RAISE EXCEPTION 'a finalized invoice is never deleted';
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
        RAISE EXCEPTION 'a finalized invoice never changes';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoice_immutable BEFORE UPDATE OR DELETE ON invoice
    FOR EACH ROW EXECUTE FUNCTION refuse_invoice_change();
