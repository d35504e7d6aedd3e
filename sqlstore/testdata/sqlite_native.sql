-- schema
CREATE TABLE IF NOT EXISTS "sessions_schema" (version integer NOT NULL PRIMARY KEY);
CREATE TABLE IF NOT EXISTS "sessions" (
  id TEXT NOT NULL PRIMARY KEY,
  subject TEXT NOT NULL,
  version INTEGER NOT NULL,
  created INTEGER, -- milliseconds since 1970, like the next two
  last_seen INTEGER,
  expires INTEGER NOT NULL,
  expires_hour INTEGER NOT NULL, -- hours since 1970
  data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS "sessions_subject_idx" ON "sessions" (subject, id) WHERE subject <> '';
CREATE INDEX IF NOT EXISTS "sessions_expires_idx" ON "sessions" (expires_hour);
INSERT INTO "sessions_schema" (version) VALUES (1) ON CONFLICT (version) DO NOTHING;

-- load (id)
SELECT subject, version, created, last_seen, expires, data FROM "sessions" WHERE id = ?1;

-- insert (id, subject, version, created, last_seen, expires, hour, data)
INSERT INTO "sessions" (id, subject, version, created, last_seen, expires, expires_hour, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING;

-- update (subject, version, created, last_seen, expires, hour, data, id, old_version)
UPDATE "sessions" SET subject = ?1, version = ?2, created = ?3, last_seen = ?4, expires = ?5, expires_hour = ?6, data = ?7 WHERE id = ?8 AND version = ?9;

-- touch (last_seen, expires, hour, id)
UPDATE "sessions" SET last_seen = CASE WHEN last_seen IS NULL OR last_seen < ?1 THEN ?1 ELSE last_seen END, expires = CASE WHEN expires < ?2 THEN ?2 ELSE expires END, expires_hour = CASE WHEN expires_hour < ?3 THEN ?3 ELSE expires_hour END WHERE id = ?4;

-- delete (id)
DELETE FROM "sessions" WHERE id = ?1;

-- list (id, limit)
SELECT id, subject, version, created, last_seen, expires, data FROM "sessions" WHERE id > ?1 ORDER BY id LIMIT ?2;

-- list of a subject (subject, id, limit)
SELECT id, subject, version, created, last_seen, expires, data FROM "sessions" WHERE subject = ?1 AND subject <> '' AND id > ?2 ORDER BY id LIMIT ?3;

-- sweep (hour, expires, limit)
DELETE FROM "sessions" WHERE id IN (SELECT id FROM "sessions" WHERE expires_hour <= ?1 AND expires < ?2 LIMIT ?3);

-- exists (id)
SELECT 1 FROM "sessions" WHERE id = ?1;
