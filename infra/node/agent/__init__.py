"""The agent: the one program of ours on a node. Standard library alone, Python 3.8 or newer, carried there as one zip file.

It is started over SSH, a command at a time, and keeps everything in folders, so that the loss of the connection, of the laptop
or of the agent itself loses no record. A job's folder, ~/.gpujob/jobs/NUMBER/:

    job.json       what was asked for, and when
    manifest.json  every file as it was sent: SHA-256, size, times, inode
    environment/   what it installs for itself, on top of what its project depends on; removed when it is over
    log            what it printed, stdout and stderr as they came, its secrets masked
    times          how long the log was at which time
    state.json     supervisor, GPUs, start, since when it stands still; replaced whole, never edited
    runner.json    the job's runner and its own process, each by number, start and boot
    end.json       end, exit code; room for this and the last is taken when the job is, so that a full disk cannot lose them
    hashes.json    the SHA-256 of its outputs, so that none is read twice
    asked.json     paths outside of its working tree, or of caches in it, that a fetch asked for
    lock           held by supervisor and runner for as long as the job lives
    watched        held by the supervisor: a job that lives without gets another one
    queued         held by the supervisor for as long as the job is queued
    fetched        there once every output is home
    jupyter/       of a notebook: where it listens and its token, open to the user alone

Its working tree, its own copy of the code, is ~/.gpujob/work/NUMBER/project/, so that a job that writes beside it, to ../x,
reaches no record. Beside the jobs: jobs/removed.json, the highest number of a job that was removed; store/, every content
that came; environments/, what projects depend on, each set once, and what it was when it was installed (`ready`);
notebook.token; uv/, py-spy/, notebook-3.X/, tensorboard-3.X/, programs that the machine had not.

Imports are relative: the folder travels alone. What a command takes and answers is in `commands`.
"""
