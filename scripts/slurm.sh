#!/usr/bin/env bash
# A SLURM cluster of this machine alone, on loopback, for trying and testing the SLURM launcher.
#
#   scripts/slurm.sh install     Debian's packages (as root)
#   scripts/slurm.sh start       munged, slurmctld and slurmd; prints the line to put into the shell
#   scripts/slurm.sh stop        ends them, and the jobs
#
# State, logs and slurm.conf go to SLURM_STATE (default: /tmp/slurm-loopback). Starts as root, for
# munged's own user and for slurmd; needs no systemd.
set -euo pipefail

state=${SLURM_STATE:-/tmp/slurm-loopback}
export SLURM_CONF=$state/slurm.conf

install_packages() {
    apt-get update --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends \
        slurmctld slurmd slurm-client munge
}

write_config() {
    mkdir -p "$state/ctld" "$state/slurmd"
    cat > "$SLURM_CONF" <<CONF
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=5
# Without these a job that was queued again starts after minutes.
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/slurmd
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=2000 State=UNKNOWN
PartitionName=debug Nodes=localhost Default=YES MaxTime=INFINITE State=UP
CONF
}

start() {
    write_config
    install -d -o munge -g munge -m 755 /run/munge
    if ! munge --no-input > /dev/null 2>&1; then
        runuser -u munge -- munged
        touch "$state/munged"
    fi
    slurmctld
    slurmd -N localhost
    for _ in $(seq 60); do
        if [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ]; then
            echo "export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.5
    done
    echo "slurm did not start; see $state/*.log" >&2
    exit 1
}

stop() {
    scancel --state=RUNNING --state=PENDING --user="$(id -un)" 2> /dev/null || true
    for daemon in slurmd slurmctld; do
        if [ -f "$state/$daemon.pid" ]; then
            kill "$(cat "$state/$daemon.pid")" 2> /dev/null || true
        fi
    done
    for _ in $(seq 40); do
        [ -f "$state/slurmd.pid" ] || [ -f "$state/slurmctld.pid" ] || break
        sleep 0.25
    done
    if [ -f "$state/munged" ]; then
        kill "$(cat /run/munge/munged.pid)"
    fi
    rm -rf "$state"
}

case ${1:-} in
    install) install_packages ;;
    start) start ;;
    stop) stop ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
