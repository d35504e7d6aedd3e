module github.com/coatcheck/session

go 1.25.0
