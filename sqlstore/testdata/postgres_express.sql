-- schema
CREATE TABLE IF NOT EXISTS "session" (
  "sid" varchar NOT NULL COLLATE "default",
  "sess" json NOT NULL,
  "expire" timestamp(6) NOT NULL,
  CONSTRAINT "session_pkey" PRIMARY KEY ("sid") NOT DEFERRABLE INITIALLY IMMEDIATE
);
CREATE INDEX IF NOT EXISTS "IDX_session_expire" ON "session" ("expire");

-- load (id)
SELECT ''::text, 0::bigint, NULL::timestamptz, NULL::timestamptz, expire::timestamptz, sess::text FROM "session" WHERE sid = $1;

-- load many (ids)
SELECT sid, ''::text, 0::bigint, NULL::timestamptz, NULL::timestamptz, expire::timestamptz, sess::text FROM "session" WHERE sid = ANY($1);

-- insert (id, data, expires)
INSERT INTO "session" (sid, sess, expire) VALUES ($1, $2::json, $3::timestamptz) ON CONFLICT (sid) DO NOTHING;

-- update (data, expires, id, old_version)
UPDATE "session" SET sess = $1::json, expire = $2::timestamptz WHERE sid = $3 AND (('x' || substr(encode(sha256(convert_to(sess::text, 'UTF8')), 'hex'), 1, 15))::bit(60)::bigint | 1) = $4;

-- touch (expires, id)
UPDATE "session" SET expire = GREATEST(expire, $1::timestamptz::timestamp) WHERE sid = $2;

-- delete (id)
DELETE FROM "session" WHERE sid = $1;

-- list (id, limit)
SELECT sid, ''::text, 0::bigint, NULL::timestamptz, NULL::timestamptz, expire::timestamptz, sess::text FROM "session" WHERE sid > $1 ORDER BY sid LIMIT $2;

-- list of a subject (id, subject, limit)
SELECT sid, ''::text, 0::bigint, NULL::timestamptz, NULL::timestamptz, expire::timestamptz, sess::text FROM "session" WHERE sid > $1 AND CASE WHEN strpos(sess::text, chr(92) || 'u') > 0 THEN true ELSE sess->'passport'->>'user' = $2::text END ORDER BY sid LIMIT $3;

-- sweep (expires, limit)
DELETE FROM "session" WHERE sid = ANY(ARRAY(SELECT sid FROM "session" WHERE expire < $1::timestamptz LIMIT $2 FOR UPDATE SKIP LOCKED)) AND expire < $1::timestamptz;

-- exists (id)
SELECT 1 FROM "session" WHERE sid = $1;
