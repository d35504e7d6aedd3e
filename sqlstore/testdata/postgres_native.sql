-- schema
CREATE TABLE IF NOT EXISTS "web"."sessions_schema" (version integer NOT NULL PRIMARY KEY);
CREATE TABLE IF NOT EXISTS "web"."sessions" (
  id bytea NOT NULL PRIMARY KEY,
  subject bytea NOT NULL,
  version bigint NOT NULL,
  created timestamptz(3),
  last_seen timestamptz(3),
  expires timestamptz(3) NOT NULL,
  expires_hour integer NOT NULL, -- hours since 1970
  data bytea NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS "sessions_subject_idx" ON "web"."sessions" (subject, id) WHERE subject <> '';
CREATE INDEX IF NOT EXISTS "sessions_expires_idx" ON "web"."sessions" (expires_hour);
INSERT INTO "web"."sessions_schema" (version) VALUES (1) ON CONFLICT (version) DO NOTHING;

-- load (id)
SELECT subject, version, created, last_seen, expires, data FROM "web"."sessions" WHERE id = $1;

-- load many (ids)
SELECT id, subject, version, created, last_seen, expires, data FROM "web"."sessions" WHERE id = ANY($1);

-- insert (id, subject, version, created, last_seen, expires, hour, data)
INSERT INTO "web"."sessions" (id, subject, version, created, last_seen, expires, expires_hour, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING;

-- update (subject, version, created, last_seen, expires, hour, data, id, old_version)
UPDATE "web"."sessions" SET subject = $1, version = $2, created = $3, last_seen = $4, expires = $5, expires_hour = $6, data = $7 WHERE id = $8 AND version = $9;

-- touch (last_seen, expires, hour, id)
UPDATE "web"."sessions" SET last_seen = CASE WHEN last_seen IS NULL OR last_seen < $1::timestamptz THEN $1::timestamptz ELSE last_seen END, expires = CASE WHEN expires < $2::timestamptz THEN $2::timestamptz ELSE expires END, expires_hour = CASE WHEN expires_hour < $3::integer THEN $3::integer ELSE expires_hour END WHERE id = $4;

-- delete (id)
DELETE FROM "web"."sessions" WHERE id = $1;

-- list (id, limit)
SELECT id, subject, version, created, last_seen, expires, data FROM "web"."sessions" WHERE id > $1 ORDER BY id LIMIT $2;

-- list of a subject (subject, id, limit)
SELECT id, subject, version, created, last_seen, expires, data FROM "web"."sessions" WHERE subject = $1 AND subject <> '' AND id > $2 ORDER BY id LIMIT $3;

-- sweep (hour, expires, limit)
DELETE FROM "web"."sessions" WHERE id = ANY(ARRAY(SELECT id FROM "web"."sessions" WHERE expires_hour <= $1 AND expires < $2 LIMIT $3 FOR UPDATE SKIP LOCKED)) AND expires < $2;

-- exists (id)
SELECT 1 FROM "web"."sessions" WHERE id = $1;
