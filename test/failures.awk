# What the tests that failed said, of the output of `go test -v`: without what they printed of the cluster, which is long.
/^=== RUN   [^\/]*$/ { said = "" }
/_test\.go:[0-9]+: / { said = said $0 "\n"; more = /: kubectl / ? 0 : 10; next }
/^        / && more > 0 { said = said $0 "\n"; more--; next }
{ more = 0 }
/^panic: / { print }
/^--- FAIL: / { printf "%s\n%s", $0, said }
