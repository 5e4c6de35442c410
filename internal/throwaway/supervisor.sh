# Supervises one throwaway cluster. The parent holds the other end of stdin and
# never writes to it but orders: when the parent is gone, for whatever reason, the
# read ends, and so does the server. Arguments: the directory of the binaries, the
# cluster's directory, the socket's directory, then the server's options.
#
# Stdout is the parent's report: the status of init, then, after start, its end of
# file says that the server has ended.
trap '' HUP INT QUIT TERM # whoever stops the parent's whole group must not stop the cleaning up
PATH=$PATH:/usr/bin:/bin # for rm, whatever the parent's is
bin=$1 dir=$2 socket=$3 server=
shift 3

init() {
	# Which locales there are differs by system; the last one is everywhere.
	for locale in C.UTF-8 en_US.UTF-8 C; do
		rm -rf "$dir/data"
		"$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale="$locale" --no-sync --wal-segsize=1 && return
	done
	return 1
}

while read -r order; do
	case $order in
	init)
		init >>"$dir/log" 2>&1
		echo $?
		;;
	start)
		"$bin/postgres" -D "$dir/data" -k "$socket" "$@" 3>&1 >>"$dir/log" 2>&1 &
		server=$!
		exec >&-
		;;
	restart) # after whoever orders it has told the server to end
		wait "$server"
		"$bin/postgres" -D "$dir/data" -k "$socket" "$@" >>"$dir/log" 2>&1 &
		server=$!
		;;
	keep) # until somebody ends the server by hand
		wait "$server"
		server=
		;;
	esac
done

if [ -n "$server" ]; then
	# Once is not enough: until the server has handlers of its own it ignores what
	# this shell ignores.
	while kill -QUIT "$server"; do sleep 0.02; done
	wait "$server"
fi 2>/dev/null
rm -rf "$dir" "$socket"
