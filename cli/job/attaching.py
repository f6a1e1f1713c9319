"""Take over the terminal of a job: attach."""

import sys

import click

from cli.notices import billing
from cli.options.context import runs_of
from cli.options.declared import cluster_option
from cli.options.values import JobName, parse_job
from cli.reasons.explanations import explain_failure
from cli.steps.following import attached, download, exit_code, follow_job
from cli.steps.keyboard import describe_terminal
from cli.steps.reach import reach_job
from cli.terminal.output import Output
from infra.node import client

LINES = 20  # of what was printed before


@click.command()
@click.argument("job", type=parse_job, required=False)
@cluster_option
def attach(job: JobName | None, cluster: str | None) -> None:
    """Take over the terminal of an interactive job.

    For a job started by gpujob run --interactive, by default the latest, after its connection was lost or Ctrl-] detached it.
    Downloads the job's outputs when it ends, and exits with its exit code.
    """
    describe_terminal()
    with reach_job(cluster, job) as (found, connection, asked), billing.reminding(found):
        offset = client.find_tail(connection, asked.number, LINES)
        with attached(asked.number, interactive=True) as attachment:
            ended = follow_job(connection, asked.number, Output(editing=True), offset, attachment=attachment)
        explain_failure(connection, ended)
        download(connection, ended.number, runs_of(found, ended.number))
    sys.exit(exit_code(found, ended))
