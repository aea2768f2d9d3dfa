-- Archives: the content of old rows goes into files; place, key, seal and content hash stay.

-- Content hash and second half of the key's digest of a row whose content is archived; then type,
-- source and id are empty and quantity is 0. NULL: the row is whole.
ALTER TABLE usage_event ADD COLUMN archived bytea;

CREATE TABLE archive (
    lane_id  bigint NOT NULL,
    first    bigint NOT NULL,
    last     bigint NOT NULL,
    tenant   bigint NOT NULL,
    state    text COLLATE "C" NOT NULL CHECK (state IN ('archived', 'restored')),
    at       bigint NOT NULL,
    place    text COLLATE "C" NOT NULL,
    -- The manifest as it was when the content was dropped.
    manifest text COLLATE "C" NOT NULL,
    PRIMARY KEY (lane_id, first, last),
    CHECK (first BETWEEN 1 AND last)
);
CREATE FUNCTION refuse_archive_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.lane_id, NEW.first, NEW.last, NEW.tenant, NEW.manifest)
        IS DISTINCT FROM (OLD.lane_id, OLD.first, OLD.last, OLD.tenant, OLD.manifest)
    THEN
        RAISE EXCEPTION 'the manifest of an archive never changes'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER archive_immutable BEFORE UPDATE ON archive
    FOR EACH ROW EXECUTE FUNCTION refuse_archive_change();
CREATE TRIGGER archive_not_deleted BEFORE DELETE OR TRUNCATE ON archive
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A row changes in two ways only: its content goes while an archive holds it, and comes back when
-- that archive was restored. What stays of it never changes.
CREATE FUNCTION refuse_event_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    held boolean := EXISTS (
        SELECT 1 FROM archive AS a
        WHERE a.lane_id = OLD.lane_id AND OLD.position BETWEEN a.first AND a.last
            AND a.state = 'archived');
    released boolean := EXISTS (
        SELECT 1 FROM archive AS a
        WHERE a.lane_id = OLD.lane_id AND OLD.position BETWEEN a.first AND a.last
            AND a.state = 'restored');
BEGIN
    IF (NEW.lane_id, NEW.position, NEW.key, NEW.leaf, NEW.recorded_at, NEW.time, NEW.customer,
        NEW.target)
        IS NOT DISTINCT FROM
        (OLD.lane_id, OLD.position, OLD.key, OLD.leaf, OLD.recorded_at, OLD.time, OLD.customer,
        OLD.target)
        AND ((OLD.archived IS NULL AND octet_length(NEW.archived) = 48 AND held
                AND NEW.type = '' AND NEW.source = '' AND NEW.id = '' AND NEW.quantity = 0
                AND NEW.body IS NULL)
            OR (OLD.archived IS NOT NULL AND NEW.archived IS NULL AND released AND NOT held))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'usage_event is append-only: rows are never updated or deleted'
        USING ERRCODE = 'restrict_violation';
END $$;
DROP TRIGGER usage_event_append_only ON usage_event;
CREATE TRIGGER usage_event_append_only BEFORE DELETE OR TRUNCATE ON usage_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER usage_event_updates BEFORE UPDATE ON usage_event
    FOR EACH ROW EXECUTE FUNCTION refuse_event_change();
