#!/usr/bin/env bash
# Runs a command against a SLURM cluster of one node on this machine, started for it in a temporary folder and stopped
# behind it. Two fake GPUs, no accounting, no cgroups, so that it works in a container too. Needs root and the packages
# slurmctld, slurmd, slurm-client and munge.
#
#   tools/slurm/cluster.sh sinfo
#
# The command finds the cluster through SLURM_CONF, as every SLURM client does. SWEEP_SLURM_CPUS: CPUs that the node
# claims (default 16: tasks of a test share what is really there). SWEEP_SLURM_KEEP=1 leaves the folder with the logs.
set -euo pipefail

missing=()
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" > /dev/null || missing+=("$program")
done
if ((${#missing[@]})); then
    echo "cannot start a cluster: ${missing[*]} not found" >&2
    echo "hint: as root on Debian or Ubuntu: apt-get install -y slurmctld slurmd slurm-client munge" >&2
    exit 2
fi
if ((EUID != 0)); then
    echo "cannot start a cluster: slurmd starts tasks for their users and needs root" >&2
    exit 2
fi
if (($# == 0)); then
    echo "usage: $0 COMMAND [ARGUMENT...]" >&2
    exit 2
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/sweep-slurm.XXXXXX")
chmod 755 "$folder"
pids=()

stop() {
    local status=$?
    # Tasks that are still there would outlive their cluster.
    if ((${#pids[@]} == 3)) && squeue --noheader --format %i > "$folder/left" 2> /dev/null && [[ -s $folder/left ]]; then
        xargs scancel < "$folder/left" || true
        for _ in {1..30}; do [[ $(squeue --noheader) ]] || break; sleep 0.5; done
    fi
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2> /dev/null || true
        wait "${pids[i]}" 2> /dev/null || true
    done
    if [[ ${SWEEP_SLURM_KEEP:-} ]]; then
        echo "logs of the cluster: $folder" >&2
    else
        rm -rf "$folder"
    fi
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Ports that nobody listens on now.
free_port() {
    local port
    while port=$((20000 + RANDOM % 20000)); (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do :; done
    echo "$port"
}

cpus=${SWEEP_SLURM_CPUS:-16}
host=$(hostname -s)
mkdir -p "$folder"/{state,spool,log,munge}

# A key of its own: the test neither reads nor needs that of the machine. Munge insists on folders of its user.
munge_user=$(id -un munge 2> /dev/null || id -un)
dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
chown -R "$munge_user" "$folder/munge"
chmod 400 "$folder/munge/key"
chmod 755 "$folder/munge"

cat > "$folder/slurm.conf" << END
ClusterName=sweep-test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,requeue_delay=1
ReturnToService=2
KillWait=5
MinJobAge=600
GresTypes=gpu
# The node claims more than the machine may have.
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=65536 Gres=gpu:2 State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
# Devices that are there everywhere: only which task gets which one is looked at.
cat > "$folder/gres.conf" << END
Name=gpu File=/dev/null
Name=gpu File=/dev/zero
END
export SLURM_CONF="$folder/slurm.conf"

start() {
    "$@" > "$folder/log/$(basename "$1").out" 2>&1 &
    pids+=($!)
}
start runuser -u "$munge_user" -- munged --foreground --force --key-file="$folder/munge/key" \
    --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed" \
    --log-file="$folder/munge/log"
for _ in {1..50}; do [[ -S "$folder/munge/socket" ]] && break; sleep 0.1; done
start slurmctld -D -i
start slurmd -D -N "$host"

for _ in {1..60}; do
    [[ $(sinfo --noheader --format %t 2> /dev/null) == idle ]] && break
    sleep 0.5
done
if [[ $(sinfo --noheader --format %t 2> /dev/null) != idle ]]; then
    echo "the cluster did not come up" >&2
    tail -n 20 "$folder"/log/* "$folder/munge/log" >&2
    exit 1
fi
"$@"
