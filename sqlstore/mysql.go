package sqlstore

// IDs and subjects are varbinary: compared byte by byte, where the collations of
// text ignore spaces at the end. Times are numbers, which no time zone of a
// connection and no parseTime changes. The primary key is part of every index,
// so that of subjects is in the order of (subject, id).
var mysqlSchema = schema{
	versioned: true,
	check:     nativeCheck,
	migrations: [][]string{{
		`CREATE TABLE IF NOT EXISTS {table} (
  id varbinary(128) NOT NULL,
  subject varbinary(255) NOT NULL,
  version bigint NOT NULL,
  created bigint, -- milliseconds since 1970, like the next two
  last_seen bigint,
  expires bigint NOT NULL,
  expires_hour int NOT NULL, -- hours since 1970
  data mediumblob NOT NULL,
  PRIMARY KEY (id),
  KEY {name _subject_idx} (subject),
  KEY {name _expires_idx} (expires_hour)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`,
	}},
}

const mysqlSweep = `DELETE FROM {table} WHERE expires_hour <= @hour AND expires < @expires LIMIT @limit`
