{
  "what": "profile mobilenet_v2-threads (crc32 0f6fbf57)",
  "agent": "rrl-gp",
  "episodes": 7,
  "requests": 100,
  "rounds": 10,
  "seed": 0,
  "space": "8e7b12f6a651a670",
  "default": {
    "inter_op": 2,
    "intra_op": 2,
    "batch_threads": 0
  },
  "fixed": {},
  "arrivals": "Poisson(rate=115.0)",
  "objective": "mean",
  "slo": null,
  "load_per_s": 110.57539555913169,
  "recommended": {
    "inter_op": 2,
    "intra_op": 1,
    "batch_threads": 4
  },
  "verdict": "better",
  "ratio": {
    "median": 0.5893845639179531,
    "low": 0.42635680903932177,
    "high": 0.6910343697226738
  },
  "cost": {
    "default": 0.02851734,
    "recommended": 0.016807680000000002
  },
  "stopped": {
    "default": 0,
    "recommended": 0
  },
  "memory_bytes": null,
  "failed": 0,
  "compared": 8,
  "harm": {
    "late_s": null,
    "trials": [
      0,
      0
    ],
    "default": [
      0,
      0
    ],
    "ended": []
  },
  "busy": "",
  "deploy": {
    "inter_op": 2,
    "intra_op": 1,
    "batch_threads": 4
  },
  "flags": [
    "--tensorflow_inter_op_parallelism=2",
    "--tensorflow_intra_op_parallelism=1",
    "--enable_batching",
    "--batching_parameters_file=/tmp/rev_oper/j/batching.txt"
  ],
  "batching": "max_batch_size { value: 1 }\nbatch_timeout_micros { value: 0 }\nnum_batch_threads { value: 4 }\n",
  "environment": {}
}
