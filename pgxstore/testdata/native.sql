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
CREATE OR REPLACE FUNCTION "web"."sessions_changed"() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM pg_notify('session_changes_' || TG_RELID, '');
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    PERFORM pg_notify('session_changes_' || TG_RELID, encode(substr(sha256(OLD.id), 1, 16), 'hex'));
  END IF;
  IF TG_OP <> 'DELETE' THEN -- PostgreSQL sends what is the same twice only once
    PERFORM pg_notify('session_changes_' || TG_RELID, encode(substr(sha256(NEW.id), 1, 16), 'hex'));
  END IF;
  RETURN NULL;
END
$function$;
DROP TRIGGER IF EXISTS "sessions_changed" ON "web"."sessions";
CREATE TRIGGER "sessions_changed" AFTER INSERT OR UPDATE OR DELETE ON "web"."sessions" FOR EACH ROW EXECUTE FUNCTION "web"."sessions_changed"();
DROP TRIGGER IF EXISTS "sessions_truncated" ON "web"."sessions";
CREATE TRIGGER "sessions_truncated" AFTER TRUNCATE ON "web"."sessions" FOR EACH STATEMENT EXECUTE FUNCTION "web"."sessions_changed"();
