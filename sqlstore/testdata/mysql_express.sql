-- schema
CREATE TABLE IF NOT EXISTS `sessions` (
  `session_id` varchar(128) COLLATE utf8mb4_bin NOT NULL,
  `expires` int(11) unsigned NOT NULL,
  `data` mediumtext COLLATE utf8mb4_bin,
  PRIMARY KEY (`session_id`)
) ENGINE=InnoDB;

-- load (id, id)
SELECT '', 0, NULL, NULL, CAST(expires AS SIGNED) * 1000, data FROM `sessions` WHERE session_id = ? AND LENGTH(session_id) = LENGTH(?);

-- insert (id, expires, data)
INSERT INTO `sessions` (session_id, expires, data) VALUES (?, ?, ?);

-- update (expires, data, id, id, old_version)
UPDATE `sessions` SET expires = ?, data = ? WHERE session_id = ? AND LENGTH(session_id) = LENGTH(?) AND (CAST(CONV(LEFT(SHA2(CONVERT(data USING utf8mb4), 256), 15), 16, 10) AS SIGNED) | 1) = ?;

-- touch (expires, id, id)
UPDATE `sessions` SET expires = GREATEST(expires, ?) WHERE session_id = ? AND LENGTH(session_id) = LENGTH(?);

-- delete (id, id)
DELETE FROM `sessions` WHERE session_id = ? AND LENGTH(session_id) = LENGTH(?);

-- list (id, limit)
SELECT session_id, '', 0, NULL, NULL, CAST(expires AS SIGNED) * 1000, data FROM `sessions` WHERE session_id > ? ORDER BY session_id LIMIT ?;

-- list of a subject (id, subject, limit)
SELECT session_id, '', 0, NULL, NULL, CAST(expires AS SIGNED) * 1000, data FROM `sessions` WHERE session_id > ? AND CASE WHEN JSON_VALID(data) AND LOCATE(CONCAT(CHAR(92 USING utf8mb4), 'u'), data) = 0 THEN JSON_UNQUOTE(JSON_EXTRACT(data, '$.passport.user')) = ? ELSE TRUE END ORDER BY session_id LIMIT ?;

-- sweep (id, last_id, expires)
DELETE FROM `sessions` WHERE session_id > ? AND session_id <= ? AND expires < ?;

-- page to sweep (id, limit)
SELECT MAX(session_id) FROM (SELECT session_id FROM `sessions` WHERE session_id > ? ORDER BY session_id LIMIT ?) AS page;

-- exists (id, id)
SELECT 1 FROM `sessions` WHERE session_id = ? AND LENGTH(session_id) = LENGTH(?);

-- unchanged (id, id, old_version)
SELECT 1 FROM `sessions` WHERE session_id = ? AND LENGTH(session_id) = LENGTH(?) AND (CAST(CONV(LEFT(SHA2(CONVERT(data USING utf8mb4), 256), 15), 16, 10) AS SIGNED) | 1) = ?;
