# Supervises one throwaway PgBouncer, as supervisor.sh does a server: when the parent is
# gone, so is stdin's other end, and then PgBouncer. Arguments: its binary, its
# directory. Stdout ends when PgBouncer has.
trap '' HUP INT QUIT TERM
PATH=$PATH:/usr/bin:/bin # for rm, whatever the parent's is
"$1" -q "$2/pgbouncer.ini" 3>&1 >>"$2/log" 2>&1 </dev/null &
proxy=$!
exec >&-
read -r _
# Until it has handlers of its own it ignores what this shell ignores.
while kill -TERM "$proxy"; do sleep 0.02; done 2>/dev/null
wait "$proxy"
rm -rf "$2"
