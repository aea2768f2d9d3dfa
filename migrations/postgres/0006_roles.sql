-- A second wall between tenants, and roles that may do only what their work needs.
--
-- | role               | may |
-- |--------------------|-----|
-- | counterfoil_ingest | append events and look up which are stored |
-- | counterfoil_app    | all the program does, but for changing the schema and rebuilding history |
-- | counterfoil_read   | read |
--
-- They cannot log in: grant them to the roles that do. The owner of the tables, who migrates, is
-- bound by none of this.
--
-- A session says which tenant it works for (counterfoil.tenant, its number, and counterfoil.name).
-- To the roles above nothing of another tenant is there, whatever a statement forgets to ask for;
-- where nothing is said, nothing is there at all.

-- Whether this session works for this tenant. A function of one expression is put in place where it
-- is called, so it costs a comparison a row.
CREATE FUNCTION is_tenant(number bigint) RETURNS boolean LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT coalesce(number::text = current_setting('counterfoil.tenant', true), false);
END;

-- The ledger is written by COPY, which PostgreSQL does not do under row-level security. So its table
-- has none: the roles may insert, which a check holds to their tenant, and read through a view.
CREATE FUNCTION may_append(number bigint) RETURNS boolean LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT coalesce(number::text = current_setting('counterfoil.tenant', true), false)
        OR NOT row_security_active('tenant'::regclass);
END;
ALTER TABLE usage_event
    ADD CONSTRAINT usage_event_of_tenant CHECK (may_append(lane_id / 64)) NOT VALID;
CREATE VIEW ledger_event WITH (security_barrier) AS
    SELECT * FROM usage_event
    WHERE lane_id / 64 = (SELECT nullif(current_setting('counterfoil.tenant', true), '')::bigint)
        OR (SELECT NOT row_security_active('tenant'::regclass));

-- Every table of tenants, those of later migrations included that call this again.
CREATE FUNCTION secure_tenants() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    here record;
BEGIN
    FOR here IN
        SELECT c.oid::regclass AS name,
            bool_or(a.attname = 'tenant') AS by_tenant
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
        WHERE c.relnamespace = current_schema()::regnamespace
            AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND a.attname IN ('tenant', 'lane_id') AND c.relname NOT IN ('tenant', 'usage_event')
        GROUP BY c.oid
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', here.name);
        EXECUTE format('DROP POLICY IF EXISTS of_tenant ON %s', here.name);
        EXECUTE format(
            'CREATE POLICY of_tenant ON %s USING (%s = (SELECT nullif(current_setting(''counterfoil.tenant'', true), '''')::bigint))',
            here.name, CASE WHEN here.by_tenant THEN 'tenant' ELSE 'lane_id / 64' END);
    END LOOP;
END $$;
ALTER TABLE tenant ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON tenant
    USING (is_tenant(number) OR id = current_setting('counterfoil.name', true));
SELECT secure_tenants();

-- Makes a tenant. Its number follows from those of the others, whom the caller does not see.
CREATE FUNCTION create_tenant(
    new_id text, new_lanes bigint, new_future bigint, new_past bigint, beginning bigint
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    made bigint;
BEGIN
    -- Tenants are numbered one after another; readers are not held up.
    LOCK TABLE tenant IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO tenant (number, id, lanes, future_micros, past_micros)
        SELECT coalesce(max(number), 0) + 1, new_id, new_lanes, new_future, new_past FROM tenant
        ON CONFLICT (id) DO NOTHING
        RETURNING number INTO made;
    IF made IS NOT NULL THEN
        INSERT INTO lane (lane_id, tenant, position, recorded_at)
            SELECT made * 64 + n, made, 0, beginning FROM generate_series(0, new_lanes - 1) AS n;
    END IF;
END $$;
DO $$
BEGIN
    -- Its caller must not be able to put another table in the way.
    EXECUTE format(
        'ALTER FUNCTION create_tenant(text, bigint, bigint, bigint, bigint) SET search_path = %I, pg_temp',
        current_schema());
END $$;
REVOKE ALL ON FUNCTION create_tenant(text, bigint, bigint, bigint, bigint) FROM PUBLIC;

-- Finds an API key and its tenant by the readable front of its secret. Whose a request is, is what
-- it tells: no session can say that before.
CREATE FUNCTION find_api_key(wanted text) RETURNS TABLE (
    id text, prefix text, digest bytea, name text, scopes text, customer text, created_at bigint,
    expires_at bigint, revoked_at bigint, last_used_at bigint, tenant text
) LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
    SELECT k.id, k.prefix, k.digest, k.name, k.scopes, k.customer, k.created_at, k.expires_at,
        k.revoked_at, k.last_used_at, t.id
    FROM api_key k JOIN tenant t ON t.number = k.tenant
    WHERE k.prefix = wanted COLLATE "C";
END;
REVOKE ALL ON FUNCTION find_api_key(text) FROM PUBLIC;

-- Makes the roles where that is allowed, and grants them what they need. `counterfoil doctor` says
-- when it must be called again by somebody with the right: SELECT grant_roles().
CREATE FUNCTION grant_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    role text;
    missing text[] := '{}';
    here text := current_schema();
BEGIN
    FOREACH role IN ARRAY ARRAY['counterfoil_ingest', 'counterfoil_app', 'counterfoil_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                -- Another database's migration was faster.
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN missing := missing || role;
            END;
        END IF;
    END LOOP;
    IF missing <> '{}' THEN
        RAISE NOTICE 'roles % are missing and may not be created by %', missing, current_user;
        RETURN;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO counterfoil_ingest, counterfoil_app, counterfoil_read', here);
    -- Reading: all but the ledger's table, which is read through its view.
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO counterfoil_app, counterfoil_read', here);
    REVOKE ALL ON usage_event FROM counterfoil_app, counterfoil_read;
    -- Appending.
    GRANT SELECT ON tenant, ledger_event, _sqlx_migrations TO counterfoil_ingest;
    GRANT SELECT, UPDATE ON lane TO counterfoil_ingest;
    GRANT INSERT ON usage_event TO counterfoil_ingest, counterfoil_app;
    -- The rest. What is append-only stays so: no right to change, besides the triggers.
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO counterfoil_app', here);
    REVOKE UPDATE, DELETE ON usage_event, journal, price_book, document, posting, audit
        FROM counterfoil_app;
    REVOKE INSERT, UPDATE, DELETE ON tenant, _sqlx_migrations, ledger_event FROM counterfoil_app;
    -- Content of archived rows goes and comes back; triggers see to it that nothing else does.
    GRANT UPDATE (archived, type, source, id, quantity, body) ON ledger_event TO counterfoil_app;
    -- Digests of secrets are not for reading.
    REVOKE ALL ON api_key, claim FROM counterfoil_read;
    GRANT EXECUTE ON FUNCTION find_api_key(text) TO counterfoil_app, counterfoil_ingest;
    REVOKE INSERT, DELETE ON lane FROM counterfoil_app;
    -- A lock on a tenant's row is a right to change it.
    GRANT UPDATE (lanes) ON tenant TO counterfoil_app;
    GRANT EXECUTE ON FUNCTION create_tenant(text, bigint, bigint, bigint, bigint) TO counterfoil_app;
END $$;
SELECT grant_roles();
