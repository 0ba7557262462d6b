"""Where the jobs of a sweep are done: in this process, in several, on Ray, on Slurm.

    contract.py   what a job is, what an executor is, and in which order jobs are begun
    local.py      this process, or several of this machine
    ray.py        tasks of Ray Core: a cluster of its own on this machine, or one that is joined
    slurm.py      jobs of Slurm, submitted by submitit
    remote.py     how a job is sent to a machine that shares nothing with this one but folders

All lead to the same run folders.  Free of torch at import; ray and submitit are extras, imported when they are used.
"""
