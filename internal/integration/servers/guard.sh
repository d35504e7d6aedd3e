# Ends the servers of one test binary after that binary has ended, however it ended: it reads "+ pid" and
# "- pid" lines from the binary, and the end of its input is the end of the binary. $1 is the binary's folder.
pids=
while read -r op pid; do
	case $op in
	+) pids="$pids $pid" ;;
	-)
		rest=
		for p in $pids; do
			[ "$p" = "$pid" ] || rest="$rest $p"
		done
		pids=$rest
		;;
	esac
done

# tree prints the given processes and everything below them.
tree() {
	for p in "$@"; do
		echo "$p"
		tree $(grep -ls "^PPid:[[:space:]]*$p\$" /proc/[0-9]*/status | cut -d/ -f3)
	done
}

if [ -n "$pids" ]; then
	all=$(tree $pids)
	kill -CONT $all 2>/dev/null
	kill -TERM $all 2>/dev/null
	tries=0
	left=$all
	while [ -n "$left" ] && [ $tries -lt 50 ]; do
		sleep 0.1
		tries=$((tries + 1))
		alive=
		for p in $left; do
			kill -0 "$p" 2>/dev/null && alive="$alive $p"
		done
		left=$alive
	done
	[ -z "$left" ] || kill -KILL $left 2>/dev/null
fi
rm -rf -- "$1"
