"""The options that describe what to launch, and the request that they make.

Most gpujob.toml files have an [up] table, which every command checks, so this module must be fast to import.
"""

import click
from click.core import ParameterSource

from cli.cluster.launch.network import NetworkOptions, make_network, make_tags, network_options
from cli.options.declared import add_options, option, regions_option
from cli.options.durations import parse_duration, parse_hours, parse_idle_stop
from cli.options.sources import choose_markets, find_overruled
from cli.options.values import parse_gpu, parse_memory, parse_usd
from infra import names
from infra.errors import Change, UsageError
from infra.model import Gpu, LaunchRequest

IDLE_STOP_S = 3600
SPOT = ("--spot", "--spot-first")


class LaunchOptions(NetworkOptions):
    """The options that describe what to launch."""

    gpu: Gpu | None
    gpu_memory: float | None
    instance_types: tuple[str, ...]
    on_demand: bool
    spot: bool
    spot_first: bool
    regions: tuple[str, ...]
    zones: tuple[str, ...]
    nodes: int
    image: str
    disk_gib: int
    max_hours: float
    max_cost_usd: float | None
    idle_stop_s: float | None
    setup: bool
    boot_s: float


launch_options = add_options(
    option("--gpu", type=parse_gpu, metavar="NAME[:COUNT]", help="GPU model and count, e.g. H100:8  [default: T4]"),
    option("--gpu-memory", type=parse_memory, metavar="GB", help="Minimum memory per GPU, in GB."),
    option(
        "--instance-type",
        "instance_types",
        multiple=True,
        metavar="TYPE",
        help="Instance type; repeat for alternatives.",
    ),
    option("--on-demand", is_flag=True, help="On-demand instances (default)."),
    option("--spot", is_flag=True, help="Spot instances: cheaper, but AWS may reclaim them at two minutes' notice."),
    option("--spot-first", is_flag=True, help="Spot if available, otherwise on-demand."),
    regions_option,
    option("--zone", "zones", multiple=True, metavar="ZONE", help="Availability zone; repeat for alternatives."),
    network_options,
    option(
        "--nodes",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        help="Number of identical machines, all in one zone.",
    ),
    option(
        "--image",
        default="dlami",
        show_default=True,
        metavar="IMAGE",
        help="dlami, dlami-al2023, ubuntu, an image made by gpujob bake, an AMI ID or an AMI name.",
    ),
    option(
        "--disk",
        "disk_gib",
        type=click.IntRange(8, 16384),
        default=100,
        show_default=True,
        metavar="GIB",
        help="Disk size of each machine, in GiB.",
    ),
    option(
        "--max-hours",
        type=parse_hours,
        default="12",
        show_default=True,
        metavar="HOURS",
        help="Lease: the machine terminates itself after this time (6, 12h, 90m).",
    ),
    option(
        "--max-cost",
        "max_cost_usd",
        type=parse_usd,
        metavar="USD",
        help="Shorten the lease so that the total cost stays below this.",
    ),
    option(
        "--idle-stop",
        "idle_stop_s",
        type=parse_idle_stop,
        default=None,
        metavar="TIME",
        help="Terminate the machine after this time without a job, a login or an output to download, or never"
        "  [default: 1h; never with several nodes]",
    ),
    option(
        "--boot-timeout",
        "boot_s",
        type=parse_duration,
        default="5m",
        show_default=True,
        metavar="TIME",
        help="Terminate the machine if it is not reachable within this time.",
    ),
    option(
        "--setup/--no-setup",
        default=True,
        help="Run the setup playbook: all roles on ubuntu, only missing ones on other images.",
    ),
)
"""Adds the options that describe what to launch."""


def make_request(context: click.Context, asked: LaunchOptions) -> LaunchRequest:
    """Return the launch request; the default GPU is a T4.

    The command line takes precedence over variables and gpujob.toml; options of the same source must agree. Jobs run on the
    first machine only, so the idle stop of several machines is off by default. Raises UsageError.
    """
    markets = choose_markets(context, asked)
    overruled = find_overruled(context, asked, ("gpu", "gpu_memory"), ("instance_types",), ("reservation",))
    overruled |= find_overruled(context, asked, ("regions",), ("zones",))
    overruled |= find_overruled(context, asked, ("zones",), ("reservation",))
    overruled |= find_overruled(context, asked, ("spot", "spot_first"), ("reservation",))
    reservation = "" if "reservation" in overruled else asked["reservation"] or ""
    if reservation and "spot" in markets and "spot" not in overruled:
        raise UsageError("a capacity reservation is not for spot machines", change=Change("--on-demand", instead=SPOT))
    gpu = None if "gpu" in overruled else asked["gpu"]
    memory = 0 if "gpu_memory" in overruled else asked["gpu_memory"] or 0
    types = () if "instance_types" in overruled else asked["instance_types"]
    idle_stop_s = asked["idle_stop_s"]
    if idle_stop_s is None:
        idle_stop_s = IDLE_STOP_S if asked["nodes"] == 1 else 0
    return LaunchRequest(
        gpu=gpu or (None if memory or types or reservation else Gpu("T4")),
        gpu_memory_gb=memory,
        instance_types=types,
        markets=("on-demand",) if reservation else markets,
        regions=() if "regions" in overruled else tuple(dict.fromkeys(asked["regions"])),
        zones=() if "zones" in overruled else asked["zones"],
        nodes=asked["nodes"],
        image=asked["image"],
        disk_gib=asked["disk_gib"],
        max_hours=asked["max_hours"],
        max_cost_usd=asked["max_cost_usd"],
        idle_stop_s=idle_stop_s,
        setup=asked["setup"],
        network=make_network(asked),
        tags=make_tags(asked),
        instance_profile=names.choose_profile(asked["instance_profile"], asked["bucket"]),
        bucket=asked["bucket"] or "",
        kms_key=asked["kms_key"] or "",
        login_user=asked["login_user"] or "",
        reservation=reservation,
    )


def settings_of(context: click.Context) -> list[str]:
    """Return the options that come from the project's gpujob.toml, which may be someone else's."""
    given = (name for name in context.params if context.get_parameter_source(name) is ParameterSource.DEFAULT_MAP)
    flags = {parameter.name: parameter.opts[-1] for parameter in context.command.params}
    return [flags[name].lstrip("-") for name in given]
