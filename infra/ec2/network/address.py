"""The public address of this computer, to which port 22 is opened."""

import http.client
import ipaddress
import ssl
import urllib.request
from urllib.parse import urlsplit

from infra.ec2.account import Account
from infra.ec2.errors import TRUST
from infra.errors import CloudError, UsageError

LOOPBACK = "127.0.0.1"
MOST_BYTES = 64  # of a response that is an address


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirects: a network's sign-in page could answer with any address."""

    def redirect_request(self, *_: object) -> None:
        """Refuse."""


def find_caller_address(account: Account) -> str:
    """Return this computer's public address as a network of one: 203.0.113.7/32.

    Port 22 is opened to it, so it must be one public IPv4 address; nodes have no IPv6. Raises CloudError.
    """
    url = urlsplit(account.checkip_url)
    if url.scheme != "https" and url.hostname != LOOPBACK:
        raise UsageError(
            f"{account.checkip_url} is not https, so the response could be forged", "unset GPUJOB_CHECKIP_URL"
        )
    proxies = urllib.request.ProxyHandler({} if account.is_local else None)
    try:
        trusted = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=account.ca_bundle))
        with urllib.request.build_opener(proxies, trusted, NoRedirect).open(account.checkip_url, timeout=10) as answer:
            return read_address(answer.read(MOST_BYTES + 1), url.hostname or "")
    except ssl.SSLError as error:
        raise untrusted(error) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            raise untrusted(error) from error
        raise CloudError(
            f"cannot find this computer's public address: {error}",
            f"check the network (curl {account.checkip_url}), then rerun",
        ) from error


def untrusted(error: Exception) -> CloudError:
    """Return the error for a certificate that is not trusted, such as that of an inspecting proxy."""
    return CloudError(f"cannot verify the certificate of an AWS service: {error}", TRUST)


def describe_proxy(url: str) -> str:
    """Return a warning if a web proxy hides this computer's address from AWS; "" otherwise.

    SSH does not go through a web proxy, so it may leave from another address: https://github.com/hashicorp/packer/issues/9715
    """
    host = urlsplit(url).hostname or ""
    proxy = urllib.request.getproxies().get("https")
    if not proxy or urllib.request.proxy_bypass(host):
        return ""
    return (
        f"port 22 is opened to the address of the proxy {urlsplit(proxy).hostname or 'in HTTPS_PROXY'}, but SSH does not go"
        " through it; if the machine cannot be reached, name the network that SSH leaves from: --ssh-from CIDR"
    )


def read_address(answer: bytes, host: str) -> str:
    """Return the address in a response as a network of one; raises ValueError unless it is public IPv4.

    The loopback address is accepted from the local cloud, whose `host` is this computer.
    """
    if len(answer) > MOST_BYTES:
        raise ValueError(f"{host} sent more than an address")
    text = answer.decode("ascii").strip()
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise ValueError(f"{host} sent {text[:45]!r}, which is not an IPv4 address") from error
    if not (address.is_global and not address.is_multicast) and not (address.is_loopback and host == LOOPBACK):
        raise ValueError(f"{host} sent {address}, which is not a public address")
    return f"{address}/32"
