# usage: sig.sh DELAY SIG [SECOND]
. /tmp/rev_oper/env.sh
O=/tmp/rev_oper/sig$1$2; rm -rf $O
python -m rrl.cli tune keyword --executable local --rate 50 --requests 50 --knob inter_op=1,2 --episodes 10 --rounds 8 --out $O > $O.log 2>&1 &
P=$!; sleep $1; kill -$2 $P; [ -n "$3" ] && { sleep 0.3; kill -$2 $P; }
S=$(date +%s.%N); wait $P; rc=$?; echo "delay $1 $2 $3: rc $rc after $(echo "$(date +%s.%N)-$S"|bc) s; $(tail -1 $O.log | cut -c1-150)"; sleep 0.5; ps -eo pid,ppid,args | grep "[r]ev_oper\|[l]ocal_server" | grep -v sig.sh| grep "keyword" | head -3
