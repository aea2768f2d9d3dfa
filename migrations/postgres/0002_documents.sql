-- What follows an invoice: documents, accounts and their postings; settings; parts of a cycle.

CREATE TABLE document (
    tenant   bigint NOT NULL,
    kind     text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    customer text COLLATE "C" NOT NULL,
    subject  text COLLATE "C" NOT NULL,
    number   text COLLATE "C",
    at       bigint NOT NULL,
    digest   bytea  NOT NULL,
    body     text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, kind, id),
    UNIQUE (tenant, kind, number)
);
CREATE INDEX document_customer ON document (tenant, kind, customer, id);
CREATE INDEX document_subject ON document (tenant, kind, subject, id);

CREATE TABLE account (
    tenant   bigint  NOT NULL,
    name     text COLLATE "C" NOT NULL,
    customer text COLLATE "C" NOT NULL,
    unit     text COLLATE "C" NOT NULL,
    balance  numeric NOT NULL CHECK (balance >= 0),
    PRIMARY KEY (tenant, name)
);
CREATE INDEX account_customer ON account (tenant, customer, name);

-- Append-only, contiguous per tenant.
CREATE TABLE posting (
    tenant    bigint  NOT NULL,
    position  bigint  NOT NULL,
    key       text COLLATE "C" NOT NULL,
    account   text COLLATE "C" NOT NULL,
    amount    numeric NOT NULL,
    balance   numeric NOT NULL,
    at        bigint  NOT NULL,
    cause     text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, position),
    UNIQUE (tenant, key)
);
CREATE INDEX posting_account ON posting (tenant, account, position);

CREATE TABLE setting (
    tenant bigint NOT NULL,
    key    text COLLATE "C" NOT NULL,
    value  text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, key)
);

CREATE TRIGGER document_append_only BEFORE UPDATE OR DELETE ON document
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER posting_append_only BEFORE UPDATE OR DELETE ON posting
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- A cycle may be billed in parts before it closes.
ALTER TABLE invoice ADD COLUMN part bigint NOT NULL DEFAULT 0;
ALTER TABLE invoice DROP CONSTRAINT invoice_tenant_subscription_cycle_revision_key;
ALTER TABLE invoice ADD UNIQUE (tenant, subscription, cycle, revision, part);
CREATE INDEX invoice_state ON invoice (tenant, state, due_cycle_at, id);
CREATE INDEX invoice_customer ON invoice (tenant, customer, due_cycle_at, id);
CREATE OR REPLACE FUNCTION refuse_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.state <> 'draft' THEN
            RAISE EXCEPTION 'a finalized invoice is never deleted';
        END IF;
        RETURN OLD;
    END IF;
    IF OLD.state <> 'draft' AND (
        NEW.state = 'draft'
        OR (NEW.tenant, NEW.id, NEW.customer, NEW.subscription, NEW.cycle, NEW.revision, NEW.part,
            NEW.due_cycle_at, NEW.position, NEW.number, NEW.issued_at, NEW.due_at, NEW.currency,
            NEW.total, NEW.digest, NEW.body)
           IS DISTINCT FROM
           (OLD.tenant, OLD.id, OLD.customer, OLD.subscription, OLD.cycle, OLD.revision, OLD.part,
            OLD.due_cycle_at, OLD.position, OLD.number, OLD.issued_at, OLD.due_at, OLD.currency,
            OLD.total, OLD.digest, OLD.body))
    THEN
        RAISE EXCEPTION 'a finalized invoice never changes';
    END IF;
    RETURN NEW;
END $$;
