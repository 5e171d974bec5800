-- An AOS store in one SQLite file. Times are seconds since the epoch, unless a column says otherwise.

-- Numbers that outlive the rows they were taken from.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO counters (name, value) VALUES ('seq', 0), ('routes', 0);

CREATE TABLE kinds (
    name  TEXT PRIMARY KEY,
    entry BLOB NOT NULL
) WITHOUT ROWID;

-- Mailboxes. `ready_at` means something only while nobody owns one: when it has something to do, NULL for never.
CREATE TABLE boxes (
    id       INTEGER PRIMARY KEY,
    address  TEXT NOT NULL UNIQUE,
    kind     TEXT NOT NULL,
    owner    INTEGER,
    ready_at REAL,
    state    BLOB,
    schema   INTEGER NOT NULL DEFAULT 1,
    turns    INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX boxes_free ON boxes (kind, ready_at) WHERE owner IS NULL AND ready_at IS NOT NULL;
CREATE INDEX boxes_held ON boxes (owner) WHERE owner IS NOT NULL;

-- No AUTOINCREMENT: the last number is written to `counters` only when its row goes before a later one comes.
CREATE TABLE messages (
    seq  INTEGER PRIMARY KEY,
    box  INTEGER NOT NULL,
    due  REAL NOT NULL,
    name TEXT,
    body BLOB NOT NULL
);

CREATE INDEX messages_box ON messages (box);
CREATE UNIQUE INDEX messages_name ON messages (box, name) WHERE name IS NOT NULL;

-- Entries of unfinished turns, by the message of the turn.
CREATE TABLE journal (
    seq   INTEGER NOT NULL,
    name  TEXT NOT NULL,
    entry BLOB NOT NULL,
    PRIMARY KEY (seq, name)
) WITHOUT ROWID;

-- Patterns of the journal's open waits.
CREATE TABLE waits (
    seq     INTEGER NOT NULL,
    name    TEXT NOT NULL,
    pattern TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (seq, name)
) WITHOUT ROWID;

-- History. It outlives mailboxes, so it carries their addresses.
CREATE TABLE turns (
    number  INTEGER PRIMARY KEY,
    address TEXT NOT NULL,
    at      REAL NOT NULL,
    entry   BLOB NOT NULL
);

CREATE INDEX turns_address ON turns (address);

CREATE TABLE dead (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    address    TEXT NOT NULL,
    message    BLOB NOT NULL,
    error_type TEXT NOT NULL,
    reason     TEXT NOT NULL,
    traceback  TEXT NOT NULL,
    at         REAL NOT NULL
);

CREATE INDEX dead_address ON dead (address);

-- Ids of messages that are accepted once, in the order in which they came.
CREATE TABLE seen (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    until      REAL NOT NULL
);

-- Processes that hold mailboxes. `born` tells a process from a later one of the same number.
CREATE TABLE holders (
    fence    INTEGER PRIMARY KEY AUTOINCREMENT,
    pid      INTEGER NOT NULL,
    host     TEXT NOT NULL,
    born     TEXT NOT NULL,
    started  REAL NOT NULL,
    expires  REAL NOT NULL,
    kinds    BLOB NOT NULL,
    stopping INTEGER NOT NULL DEFAULT 0
);
