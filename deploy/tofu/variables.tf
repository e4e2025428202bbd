variable "region" {
  type        = string
  default     = "fra1"
  description = "Where the machine and its volume are."
  validation {
    condition     = can(regex("^[a-z]{3}[0-9]$", var.region))
    error_message = "A region is three letters and a digit, such as fra1."
  }
}

variable "size" {
  type        = string
  default     = "s-2vcpu-4gb"
  description = "What the machine is like."
  validation {
    condition     = can(regex("^[a-z0-9-]+$", var.size))
    error_message = "A size is what DigitalOcean calls it, such as s-2vcpu-4gb."
  }
}

variable "volume_gb" {
  type        = number
  default     = 10
  description = "How large the volume is."
  validation {
    condition     = var.volume_gb >= 10 && floor(var.volume_gb) == var.volume_gb
    error_message = "The volume has 10 GB or more, without a fraction; it can grow and never shrink."
  }
}

variable "ssh_fingerprint" {
  type        = string
  description = "The MD5 fingerprint of the SSH key that DigitalOcean has (SSH_FINGERPRINT)."
  validation {
    condition     = can(regex("^([0-9a-f]{2}:){15}[0-9a-f]{2}$", var.ssh_fingerprint))
    error_message = "The fingerprint is sixteen pairs of hexadecimal digits with colons between, as DigitalOcean shows it."
  }
}

variable "release" {
  type        = string
  description = "The release that is installed, such as v2026.11.1."
  validation {
    condition     = can(regex("^v20[0-9]{2}\\.(0[1-9]|1[0-2])\\.[0-9]+$", var.release))
    error_message = "A release is vYYYY.MM.PATCH, such as v2026.02.1."
  }
}

variable "release_sha256" {
  type        = string
  description = "The sha256 of the package, from the release's SHA256SUMS."
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.release_sha256))
    error_message = "A sha256 has 64 hexadecimal digits."
  }
}

variable "release_base" {
  type        = string
  description = "Where releases are: https://github.com/OWNER/REPOSITORY/releases."
  validation {
    condition     = can(regex("^https://[^ ]+/releases$", var.release_base))
    error_message = "Releases are at an address that begins with https:// and ends with /releases."
  }
}

variable "tailscale_auth_key" {
  type        = string
  sensitive   = true
  description = "One-off and tagged: it stands in the machine's user-data, and is worth nothing once the machine is up."
  validation {
    condition     = can(regex("^tskey-auth-[A-Za-z0-9-]+$", var.tailscale_auth_key))
    error_message = "A key begins with tskey-auth-."
  }
}

variable "ssh_from" {
  type        = list(string)
  default     = ["0.0.0.0/0", "::/0"]
  description = "Who may reach port 22. Keys only, and fail2ban watches; narrow it where your address is always the same."
  validation {
    condition     = length(var.ssh_from) > 0 && alltrue([for it in var.ssh_from : can(cidrhost(it, 0))])
    error_message = "Each is an address with its prefix, such as 203.0.113.7/32; without any nobody could mend a lost tailnet."
  }
}
