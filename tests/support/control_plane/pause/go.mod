module trainmaster.io/tests/pause

go 1.24.0
