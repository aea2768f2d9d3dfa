-- Roles and row-level security are PostgreSQL's. A SQLite file belongs to whoever may read it: give
-- it to the user that runs the program, and to nobody else.
SELECT 1;
