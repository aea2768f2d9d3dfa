-- Leases: who works on what, and for how long. The token grows with each holder; a write made under
-- an older one is refused. A lease that was given back has no holder, and keeps its token.

CREATE TABLE lease (
    name   TEXT    PRIMARY KEY,
    holder TEXT,
    token  INTEGER NOT NULL,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
