"""Files that often hold keys, passwords or tokens, which anyone with access to the node, or to a copy of its disk, could read."""

import re

# In any folder and any letter case; a name of several parts is that file in that folder.
SECRETS = (
    # keys and certificates with keys
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "id_xmss*"),
    # variables
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
# What looks the same and is there to be read: the public half of a key, and what a project shows to be filled in.
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
    """Tell whether a path is, or lies in, what often holds secrets."""
    lowered = f"/{name.lower()}/"
    found = SECRET.search(lowered)
    return found is not None and not (found.end() == len(lowered) and HARMLESS_NAME.search(lowered))


def compile_any(patterns: tuple[str, ...], end: str) -> re.Pattern[str]:
    """Return one expression for all of these patterns, each of which stands for whole parts of a path."""
    inner = (re.escape(pattern).replace(r"\*", "[^/]*") for pattern in patterns)
    return re.compile(f"/(?:{'|'.join(inner)}){end}", re.DOTALL)


SECRET = compile_any(SECRETS, "/")
HARMLESS_NAME = compile_any(HARMLESS, "/$")
