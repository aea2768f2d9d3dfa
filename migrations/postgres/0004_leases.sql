-- Leases: who works on what, and for how long. The token grows with each holder; a write made under
-- an older one is refused. A lease that was given back has no holder, and keeps its token.

CREATE TABLE lease (
    name   text COLLATE "C" PRIMARY KEY,
    holder text COLLATE "C",
    token  bigint NOT NULL,
    until  bigint NOT NULL
) WITH (fillfactor = 50);
