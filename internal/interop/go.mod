module github.com/coatcheck/session/internal/interop

go 1.26.0

require (
	github.com/coatcheck/session v0.0.0
	github.com/coatcheck/session/internal/integration v0.0.0
	github.com/coatcheck/session/mongostore v0.0.0
	github.com/coatcheck/session/pgxstore v0.0.0
	github.com/coatcheck/session/redisstore v0.0.0
	github.com/go-sql-driver/mysql v1.10.1
	github.com/jackc/pgx/v5 v5.12.0
	github.com/redis/rueidis v1.0.79
	go.mongodb.org/mongo-driver/v2 v2.10.0
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/xdg-go/scram v1.4.0 // indirect
	github.com/xdg-go/stringprep v1.0.4 // indirect
	github.com/youmark/pkcs8 v0.0.0-20240726163527-a2c0da244d78 // indirect
	golang.org/x/crypto v0.54.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.41.0 // indirect
)

replace (
	github.com/coatcheck/session => ../..
	github.com/coatcheck/session/internal/integration => ../integration
	github.com/coatcheck/session/mongostore => ../../mongostore
	github.com/coatcheck/session/pgxstore => ../../pgxstore
	github.com/coatcheck/session/redisstore => ../../redisstore
)
