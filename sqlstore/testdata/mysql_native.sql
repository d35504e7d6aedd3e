-- schema
CREATE TABLE IF NOT EXISTS `web`.`sessions_schema` (version integer NOT NULL PRIMARY KEY);
CREATE TABLE IF NOT EXISTS `web`.`sessions` (
  id varbinary(128) NOT NULL,
  subject varbinary(255) NOT NULL,
  version bigint NOT NULL,
  created bigint, -- milliseconds since 1970, like the next two
  last_seen bigint,
  expires bigint NOT NULL,
  expires_hour int NOT NULL, -- hours since 1970
  data mediumblob NOT NULL,
  PRIMARY KEY (id),
  KEY `sessions_subject_idx` (subject),
  KEY `sessions_expires_idx` (expires_hour)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
INSERT IGNORE INTO `web`.`sessions_schema` (version) VALUES (1);

-- load (id)
SELECT subject, version, created, last_seen, expires, data FROM `web`.`sessions` WHERE id = ?;

-- insert (id, subject, version, created, last_seen, expires, hour, data)
INSERT INTO `web`.`sessions` (id, subject, version, created, last_seen, expires, expires_hour, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- update (subject, version, created, last_seen, expires, hour, data, id, old_version)
UPDATE `web`.`sessions` SET subject = ?, version = ?, created = ?, last_seen = ?, expires = ?, expires_hour = ?, data = ? WHERE id = ? AND version = ?;

-- touch (last_seen, last_seen, expires, expires, hour, hour, id)
UPDATE `web`.`sessions` SET last_seen = CASE WHEN last_seen IS NULL OR last_seen < ? THEN ? ELSE last_seen END, expires = CASE WHEN expires < ? THEN ? ELSE expires END, expires_hour = CASE WHEN expires_hour < ? THEN ? ELSE expires_hour END WHERE id = ?;

-- delete (id)
DELETE FROM `web`.`sessions` WHERE id = ?;

-- list (id, limit)
SELECT id, subject, version, created, last_seen, expires, data FROM `web`.`sessions` WHERE id > ? ORDER BY id LIMIT ?;

-- list of a subject (subject, id, limit)
SELECT id, subject, version, created, last_seen, expires, data FROM `web`.`sessions` WHERE subject = ? AND subject <> '' AND id > ? ORDER BY id LIMIT ?;

-- sweep (hour, expires, limit)
DELETE FROM `web`.`sessions` WHERE expires_hour <= ? AND expires < ? LIMIT ?;

-- exists (id)
SELECT 1 FROM `web`.`sessions` WHERE id = ?;
