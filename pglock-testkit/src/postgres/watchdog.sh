# Stops the server of the directory $1 after its last user has ended in any way, and removes the directory.
# Standard input is the FIFO that every user keeps open for writing; the lock on standard error says "watched".
#
# A user opens the FIFO first and then puts a file into users/. So when the FIFO ends again after users/ was listed,
# every listed user is gone. Then rmdir decides in one step: it fails if there is a new user, and otherwise keeps
# new ones out.
trap '' HUP INT
dir=$1
users=$dir/users

pause() {
    sleep 0.02 2>/dev/null || sleep 1
}

# The pid in a stale file may belong to another process by now.
is_server() {
    if [ -r "/proc/$1/cmdline" ]; then
        tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null
    else
        ps -p "$1" -o args= 2>/dev/null
    fi | grep -qF -- "$dir/data"
}

stop() {
    # postmaster.pid, or pgbouncer.pid.
    pid=$(head -n 1 "$dir"/data/*.pid 2>/dev/null)
    [ -n "$pid" ] || return 0
    is_server "$pid" || return 0
    kill -QUIT "$pid" 2>/dev/null
    # A test may have suspended it.
    kill -CONT "$pid" 2>/dev/null
    tries=0
    while [ $tries -lt 500 ]; do
        is_server "$pid" || return 0
        pause
        tries=$((tries + 1))
    done
    kill -KILL "$pid" 2>/dev/null
}

while [ -d "$users" ]; do
    cat >/dev/null
    gone=$(ls "$users")
    cat >/dev/null
    for user in $gone; do
        rm -f "$users/$user"
    done
    rmdir "$users" 2>/dev/null && break
    pause
done

# A process killed while it started the server may leave behind an initdb or a postgres that still writes here.
tries=0
while [ -e "$dir" ] && [ $tries -lt 500 ]; do
    stop
    rm -rf "$dir" 2>/dev/null && break
    pause
    tries=$((tries + 1))
done
