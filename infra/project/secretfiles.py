"""Files that often contain keys, passwords or tokens.

Anyone with access to the node, or to a copy of its disk, could read them.
"""

import re

# In any folder and in any case; a name with several parts is that file in that folder.
SECRETS = (
    # private keys, and certificates with private keys
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "id_xmss*"),
    # environment variables
    *(".env", ".env.*", "*.env", ".envrc", ".envrc.*", "secrets.toml", "secrets.yaml", "secrets.yml", "secrets.json"),
    # whole folders
    *(".aws", ".azure", ".ssh", ".gnupg", ".gcloud", ".config/gcloud", ".kaggle", ".password-store"),
    # clouds
    *("credentials.json", "application_default_credentials.json", "service-account*.json", "service_account*.json"),
    *(
        "serviceaccount*.json",
        "client_secret*.json",
        ".boto",
        ".s3cfg",
        "rclone.conf",
        ".rclone.conf",
        ".databrickscfg",
    ),
    *(".kube/config", "kubeconfig", ".docker/config.json", ".dockercfg", ".vault-token", ".modal.toml"),
    *("*.tfstate", "*.tfstate.*", "*.tfvars", "*.tfvars.json", ".terraformrc"),
    # package indexes, repositories, data
    *(".netrc", "_netrc", ".pypirc", ".npmrc", ".cargo/credentials", ".cargo/credentials.toml"),
    *(".gem/credentials", ".git-credentials", "gh/hosts.yml", ".htpasswd", ".pgpass", ".my.cnf", ".mylogin.cnf"),
    *("kaggle.json", "huggingface/token", ".huggingface/token", ".streamlit/secrets.toml"),
)
# Look-alikes that are not secret: public keys, and templates to be filled in.
HARMLESS = (
    "id_*.pub",
    "*.env.example",
    "*.env.sample",
    "*.env.template",
    "*.env.dist",
    ".envrc.example",
    ".envrc.sample",
)


def is_secret(name: str) -> bool:
    """Return whether a path is, or is in, something that often contains secrets."""
    lowered = f"/{name.lower()}/"
    found = SECRET.search(lowered)
    return found is not None and not (found.end() == len(lowered) and HARMLESS_NAME.search(lowered))


def compile_any(patterns: tuple[str, ...], end: str) -> re.Pattern[str]:
    """Return one expression for all of these patterns, each of which matches whole parts of a path."""
    inner = (re.escape(pattern).replace(r"\*", "[^/]*") for pattern in patterns)
    return re.compile(f"/(?:{'|'.join(inner)}){end}", re.DOTALL)


SECRET = compile_any(SECRETS, "/")
HARMLESS_NAME = compile_any(HARMLESS, "/$")
