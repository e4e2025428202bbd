# What is planned is what the specification says. No token, no network: the provider is played.
mock_provider "digitalocean" {}

variables {
  ssh_fingerprint    = "3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa"
  release            = "v2026.02.1"
  release_sha256     = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  release_base       = "https://github.com/example/tinyclaw/releases"
  tailscale_auth_key = "tskey-auth-canary"
}

run "the_droplet_of_the_specification" {
  command = plan
  assert {
    condition     = digitalocean_droplet.office.name == "pai-prod" && digitalocean_droplet.office.size == "s-2vcpu-4gb"
    error_message = "the droplet is not pai-prod of s-2vcpu-4gb"
  }
  assert {
    condition     = digitalocean_droplet.office.image == "ubuntu-24-04-x64" && digitalocean_droplet.office.backups
    error_message = "it is not Ubuntu 24.04 with backups"
  }
  assert {
    condition     = digitalocean_volume.data.name == "pai-data" && digitalocean_volume.data.size == 10
    error_message = "the volume is not pai-data of 10 GB"
  }
  assert {
    condition     = strcontains(digitalocean_droplet.office.user_data, "/v2026.02.1/tinyclaw_2026.2.1_amd64.deb")
    error_message = "the package is not the release's"
  }
  assert {
    condition     = length(digitalocean_droplet.office.user_data) < 16384
    error_message = "cloud-init takes no more than 16 KB"
  }
  assert {
    condition     = length([for it in digitalocean_firewall.office.inbound_rule : it if it.protocol == "tcp"]) == 1
    error_message = "more than SSH is open"
  }
}

run "a_fingerprint_that_is_none_is_refused" {
  command = plan
  variables {
    ssh_fingerprint = "SHA256:abc"
  }
  expect_failures = [var.ssh_fingerprint]
}

run "a_release_that_is_none_is_refused" {
  command = plan
  variables {
    release = "2026.2.1"
  }
  expect_failures = [var.release]
}

run "a_volume_that_is_too_small_is_refused" {
  command = plan
  variables {
    volume_gb = 5
  }
  expect_failures = [var.volume_gb]
}

run "a_sum_that_is_none_is_refused" {
  command = plan
  variables {
    release_sha256 = "latest"
  }
  expect_failures = [var.release_sha256]
}
