"""The console output of a machine, with its host key in cloud-init's format."""

import base64

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, Tree, ec2_answer
from infra.local.cloud.request import Request

BOOT = """\
[    0.000000] Linux version 6.8.0-1029-aws (buildd@lcy02) (x86_64-linux-gnu-gcc-13) #31-Ubuntu SMP
[    0.000000] Command line: BOOT_IMAGE=/vmlinuz-6.8.0-1029-aws root=PARTUUID=local ro console=tty1 console=ttyS0
[    1.204411] systemd[1]: Detected virtualization amazon.
[    4.871203] cloud-init[612]: Cloud-init v. 25.1 running 'init' on the local cloud
"""


def get_console_output(request: Request, host_key: str | None) -> Answer | None:
    """Answer GetConsoleOutput, empty until the host is up; None for an unknown instance."""
    instance_id = request.params.get("InstanceId", "")
    instance = moto_state.find_instance(request.region, instance_id)
    if instance is None:
        return None
    content: dict[str, Tree] = {
        "instanceId": instance_id,
        "timestamp": moto_state.console_time(instance).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    }
    if host_key:
        text = _text(host_key, str(instance.private_dns_name).partition(".")[0])
        content["output"] = base64.b64encode(text.encode()).decode()
    return ec2_answer("GetConsoleOutput", content)


def _text(host_key: str, name: str) -> str:
    key = " ".join(host_key.split()[:2])
    block = f"-----BEGIN SSH HOST KEY KEYS-----\n{key} root@{name}\n-----END SSH HOST KEY KEYS-----\n"
    return f"{BOOT}{block}[    9.310052] cloud-init[901]: Cloud-init finished\n\nUbuntu 24.04 LTS {name} ttyS0\n\n"
