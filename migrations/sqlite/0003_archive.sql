-- Archives: the content of old rows goes into files; place, key, seal and content hash stay.

-- Content hash and second half of the key's digest of a row whose content is archived; then type,
-- source, id and quantity are empty. NULL: the row is whole.
ALTER TABLE usage_event ADD COLUMN archived BLOB;

CREATE TABLE archive (
    lane_id  INTEGER NOT NULL,
    first    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    tenant   INTEGER NOT NULL REFERENCES tenant (number),
    state    TEXT    NOT NULL CHECK (state IN ('archived', 'restored')),
    at       INTEGER NOT NULL,
    place    TEXT    NOT NULL,
    -- The manifest as it was when the content was dropped.
    manifest TEXT    NOT NULL,
    PRIMARY KEY (lane_id, first, last),
    CHECK (first BETWEEN 1 AND last)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER archive_no_delete BEFORE DELETE ON archive
BEGIN SELECT RAISE(ABORT, 'the record of an archive is never deleted'); END;
CREATE TRIGGER archive_immutable BEFORE UPDATE ON archive
WHEN NEW.lane_id IS NOT OLD.lane_id OR NEW.first IS NOT OLD.first OR NEW.last IS NOT OLD.last
    OR NEW.tenant IS NOT OLD.tenant OR NEW.manifest IS NOT OLD.manifest
BEGIN SELECT RAISE(ABORT, 'the manifest of an archive never changes'); END;

-- A row changes in two ways only: its content goes while an archive holds it, and comes back when
-- that archive was restored. What stays of it never changes.
DROP TRIGGER usage_event_no_update;
CREATE TRIGGER usage_event_no_update BEFORE UPDATE ON usage_event
WHEN NEW.lane_id IS NOT OLD.lane_id OR NEW.position IS NOT OLD.position
    OR NEW.key IS NOT OLD.key OR NEW.leaf IS NOT OLD.leaf
    OR NEW.recorded_at IS NOT OLD.recorded_at OR NEW.time IS NOT OLD.time
    OR NEW.customer IS NOT OLD.customer OR NEW.target IS NOT OLD.target
    OR (OLD.archived IS NULL) = (NEW.archived IS NULL)
    OR (NEW.archived IS NOT NULL AND (
        NEW.type <> '' OR NEW.source <> '' OR NEW.id <> '' OR NEW.quantity <> ''
        OR NEW.body IS NOT NULL OR length(NEW.archived) <> 48))
    OR (NEW.archived IS NOT NULL) <> EXISTS (
        SELECT 1 FROM archive AS a
        WHERE a.lane_id = OLD.lane_id AND OLD.position BETWEEN a.first AND a.last
            AND a.state = 'archived')
    OR (NEW.archived IS NULL AND NOT EXISTS (
        SELECT 1 FROM archive AS a
        WHERE a.lane_id = OLD.lane_id AND OLD.position BETWEEN a.first AND a.last
            AND a.state = 'restored'))
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: rows are never updated'); END;
