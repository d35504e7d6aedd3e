CREATE TABLE IF NOT EXISTS "session" (
  "sid" varchar NOT NULL COLLATE "default",
  "sess" json NOT NULL,
  "expire" timestamp(6) NOT NULL,
  CONSTRAINT "session_pkey" PRIMARY KEY ("sid") NOT DEFERRABLE INITIALLY IMMEDIATE
);
CREATE INDEX IF NOT EXISTS "IDX_session_expire" ON "session" ("expire");
CREATE OR REPLACE FUNCTION "session_changed"() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM pg_notify('session_changes_' || TG_RELID, '');
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    PERFORM pg_notify('session_changes_' || TG_RELID, encode(substr(sha256(convert_to(OLD.sid, 'UTF8')), 1, 16), 'hex'));
  END IF;
  IF TG_OP <> 'DELETE' THEN -- PostgreSQL sends what is the same twice only once
    PERFORM pg_notify('session_changes_' || TG_RELID, encode(substr(sha256(convert_to(NEW.sid, 'UTF8')), 1, 16), 'hex'));
  END IF;
  RETURN NULL;
END
$function$;
DROP TRIGGER IF EXISTS "session_changed" ON "session";
CREATE TRIGGER "session_changed" AFTER INSERT OR UPDATE OR DELETE ON "session" FOR EACH ROW EXECUTE FUNCTION "session_changed"();
DROP TRIGGER IF EXISTS "session_truncated" ON "session";
CREATE TRIGGER "session_truncated" AFTER TRUNCATE ON "session" FOR EACH STATEMENT EXECUTE FUNCTION "session_changed"();
