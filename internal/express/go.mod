module github.com/coatcheck/session/internal/express

go 1.26.0

require github.com/coatcheck/session v0.0.0

replace github.com/coatcheck/session => ../..
