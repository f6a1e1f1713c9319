"""The agent: the program that gpujob installs on a node, as one zip file.

It needs Python 3.8 and the standard library only. Each command is a new process started over SSH, and all state is in
files, so that losing the connection, the laptop or the agent loses no record. A job's folder, ~/.gpujob/jobs/NUMBER/:

    job.json       what was requested, and when
    manifest.json  every uploaded file: SHA-256, size, times, inode
    environment/   packages that the job installs itself, on top of its project's dependencies; removed when it is over
    log            stdout and stderr interleaved, secrets masked
    times          how long the log was at which time
    state.json     supervisor, GPUs, versions of data sets, start, since when it is stalled; replaced atomically, never edited
    runner.json    the job's runner and main process, each by number, start and boot
    end.json       end, exit code; space for this and runner.json is reserved on submission, in case the disk fills up
    hashes.json    SHA-256 of outputs, so that none is read twice
    sent.json      the last listing of outputs, until all are downloaded
    bucket.json    the bucket that the job is uploaded to, and where in it
    uploading      held by the process that does so; uploaded: all that it can upload is there
    uploads.json   large files that are partly uploaded
    warned         exists once the machine is about to end
    asked.json     paths outside the working tree, or caches inside it, that a fetch requested
    lock           held by supervisor and runner while the job is alive
    watched        held by the supervisor; a job without one gets a new one
    queued         held by the supervisor while the job is queued
    fetched        exists once every output is downloaded
    freed          exists once the working tree was removed because the disk was nearly full
    jupyter/       notebooks only: address and token, readable by the user only

A job's working tree, its own copy of the code, is ~/.gpujob/work/NUMBER/project/, so that a job that writes to ../x reaches
no records. Also in ~/.gpujob: agent-HASH.MAGIC.pyz, the agent compiled for an interpreter; jobs/removed.json, the highest
number of a removed job; jobs/ended.json, those that have ended; store/, all uploaded contents and the latest lists of files;
work/next/, a prepared snapshot; data/, the data sets; environments/, dependencies installed once per set, each with its
fingerprint (`ready`); notebook.token; and uv/, py-spy/, notebook-3.X/, tensorboard-3.X/ for programs that were not on the
machine.

Imports are relative, because the folder is packed separately. Arguments and answers of each command are in `commands`.
"""
